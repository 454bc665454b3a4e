// What the page says, in both its languages.
export const WORDS = {
  "zh-CN": {
    sessions: "会话", new: "新会话", theme: "换成深色或浅色", language: "Switch to English", languageName: "EN",
    rename: "改名", clear: "清空", delete: "删除", turns: "对话", message: "消息", send: "发送", stop: "停止",
    placeholder: "说点什么……", keys: "（Enter 发送，Shift+Enter 换行）", untitled: "新的会话", copy: "复制", copied: "已复制",
    retry: "重答", edit: "修改", you: "你", bot: "机器人", welcome: "你好，想聊点什么？",
    askTitle: "会话的名字", askClear: "清空这个会话？说过的话仍留在记录里。", askDelete: "删除这个会话和说过的一切？", askKey: "这个服务需要 API 密钥：",
    unreachable: "连不上服务，请看看它还在不在。", busy: "现在太忙了，请稍后再试。", broken: "这次没成：",
  },
  en: {
    sessions: "Conversations", new: "New", theme: "Switch between dark and light", language: "切换到中文", languageName: "中",
    rename: "Rename", clear: "Clear", delete: "Delete", turns: "Conversation", message: "Message", send: "Send", stop: "Stop",
    placeholder: "Say something … ", keys: "(Enter sends, Shift+Enter breaks the line)", untitled: "New conversation", copy: "Copy",
    copied: "Copied", retry: "Again", edit: "Edit", you: "You", bot: "Bot", welcome: "Hello, what shall we talk about?",
    askTitle: "Name of the conversation", askClear: "Clear this conversation? What was said stays on record.",
    askDelete: "Delete this conversation and all that was said?", askKey: "This service asks for an API key:", unreachable: "The service cannot be reached: is it running?",
    busy: "Too busy right now, please try again soon.", broken: "That failed: ",
  },
};
