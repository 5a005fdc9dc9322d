// The server for exec, attach and port-forward. The daemon opens it, and the RPCs return its
// addresses. Start with server.ts.
export { StreamingServer, type StreamingServerOptions, type StreamingSettings } from "./server.ts";
