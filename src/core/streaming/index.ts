// Streaming: the interface between the server for clients' streams (src/streaming) and their targets (the
// verbs of src/engine/streaming). Imports base. Start reading with streams.ts.
export type {
  AttachRequest,
  ClientStreams,
  ExecEnd,
  ExecRequest,
  OfSandbox,
  StreamChoice,
  StreamTargets,
  StreamUrls,
  TerminalSize,
} from "./streams.ts";
