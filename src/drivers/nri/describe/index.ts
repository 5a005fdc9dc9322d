// Pods and containers as the messages of NRI that plugins are sent. Start with container.ts.
export { describeContainer } from "./container.ts";
export { describePod } from "./pod.ts";
export { messages } from "./resources.ts";
