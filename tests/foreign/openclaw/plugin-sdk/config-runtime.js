export const loadConfig = () => ({});
export const writeConfigFile = async () => {};
