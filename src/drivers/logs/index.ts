// The logs of containers, as files in the format of the CRI. Start with file-logs.ts.
export { FileLogs } from "./file-logs.ts";
