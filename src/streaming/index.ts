// The server behind exec, attach and port-forward: what the daemon opens, and hands to the RPCs as
// StreamUrls. Imports base, wire and core. Start with server.ts.
export { StreamingServer, type StreamingServerOptions, type StreamingSettings } from "./server.ts";
