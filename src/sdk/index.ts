// The SDK: what `import { Davit } from "davit"` gives (docs/sdk.md). It is a package of its own, without dependencies,
// for Node.js 20 or newer. Start with api/davit.ts.
import type { Davit as DavitApi, DavitConnections } from "./api/davit.ts";
import { connect } from "./davit.ts";
import { start } from "./start.ts";

export type * from "./api/container.ts";
export type { Cri, DavitConnections, PodFilter } from "./api/davit.ts";
export type * from "./api/events.ts";
export type * from "./api/fork.ts";
export type * from "./api/images.ts";
export type * from "./api/options.ts";
export type * from "./api/pod.ts";
export type * from "./api/snapshots.ts";
export {
  DavitError,
  type DavitErrorKind,
  type DavitErrorOptions,
  ExecError,
  type FailedCommand,
} from "./errors.ts";
/** The messages of the CRI, and the values of its enums. */
export * as cri from "../gen/plain/cri.ts";

/** A connection to a davit server. */
export type Davit = DavitApi;

/** The ways to a server: `Davit.connect()` and `Davit.start()`. */
export const Davit: DavitConnections = { connect: (options) => connect(options), start };
