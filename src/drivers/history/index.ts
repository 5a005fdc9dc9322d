// The history of operations on disk, so that "davit why" explains what happened before a restart. Start reading with
// history-file.ts.
export { HistoryFile, type HistoryFileOptions } from "./history-file.ts";
