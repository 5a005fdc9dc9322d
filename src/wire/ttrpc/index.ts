// ttrpc, the protocol of containerd's shims and of NRI: client and server on unix sockets, unary calls and
// streams (protocol 1.2), and several connections on one socket (multiplexer.ts). Start with client.ts.
export {
  type TtrpcCallOptions,
  TtrpcClient,
  type TtrpcMethod,
  TtrpcStatusError,
} from "./client.ts";
export { Multiplexer } from "./multiplexer.ts";
export {
  type TtrpcCall,
  TtrpcConnection,
  type TtrpcHandler,
  TtrpcServer,
  type TtrpcServerOptions,
  unaryMethod,
} from "./server.ts";
export type { TtrpcStream } from "./stream.ts";
export type { TtrpcTransport } from "./transport.ts";
