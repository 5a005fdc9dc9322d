// The two gRPC services of the CRI. Each RPC has a file, which decodes the request, calls a verb of the
// engine and encodes the answer. Imports base, gen, wire/grpc, core and engine. Start reading with
// services.ts.
export type { CriContext, ReloadReport } from "./context.ts";
export { encodedContainerEvent } from "./convert/container-event.ts";
export { encodedNodeEvent } from "./convert/node-event.ts";
export { criMethods } from "./services.ts";
export { toStatus } from "./grpc-status.ts";
