// The two gRPC services of the CRI: one file an RPC, which decodes, calls a verb of the engine and
// encodes. Imports base, gen, wire/grpc, core and engine. Start with services.ts.
export type { CriContext } from "./context.ts";
export { criMethods } from "./services.ts";
export { toStatus } from "./status.ts";
