// The server of `davit ui`. It is loaded by that command only. Its page is src/page, which the build puts
// into dist/ui.json.
export { isLoopback } from "./access.ts";
export { readPage } from "./page-file.ts";
export { UiServer, type UiOptions } from "./server.ts";
