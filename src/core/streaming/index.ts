// Streaming: the seam between what carries a client's streams (src/streaming) and what they are
// carried to (the verbs of src/engine/streaming). Imports base. Start with streams.ts.
export type {
  AttachRequest,
  ClientStreams,
  ExecEnd,
  ExecRequest,
  StreamChoice,
  StreamTargets,
  StreamUrls,
  TerminalSize,
} from "./streams.ts";
