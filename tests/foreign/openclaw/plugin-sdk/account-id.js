export const normalizeAccountId = (id) => id;
