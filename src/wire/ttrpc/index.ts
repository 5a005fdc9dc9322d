// ttrpc, the protocol of containerd's shims: client and server on unix sockets, unary calls and
// streams (protocol 1.2). Start with client.ts.
export { type TtrpcCallOptions, TtrpcClient, type TtrpcMethod } from "./client.ts";
export {
  type TtrpcCall,
  type TtrpcHandler,
  TtrpcServer,
  type TtrpcServerOptions,
  unaryMethod,
} from "./server.ts";
export type { TtrpcStream } from "./stream.ts";
