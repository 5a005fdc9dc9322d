import type { ImageService, RuntimeService } from "../../gen/plain/cri.ts";
import type { DavitEvent, EventsOptions } from "./events.ts";
import type { Fork } from "./fork.ts";
import type { Image, Pull } from "./images.ts";
import type {
  ApplyOptions,
  ConnectOptions,
  LoadOptions,
  PullOptions,
  RootFs,
  RunOptions,
  StartOptions,
} from "./options.ts";
import type { Pod } from "./pod.ts";
import type { RestoreOptions, Snapshot } from "./snapshots.ts";

/** The typed methods of the CRI (runtime.v1), with plain objects as messages. 64-bit numbers are bigint. */
export interface Cri {
  readonly runtime: RuntimeService;
  readonly image: ImageService;
}

/** Which pods `pods` lists. */
export interface PodFilter {
  readonly name?: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Also pods that have stopped; `true` if not given. */
  readonly stopped?: boolean;
}

/**
 * A connection to a davit server. `await using` removes what was run through it, except what `onDisconnect: "keep"`
 * keeps, and closes it. An idle connection does not keep the program running.
 */
export interface Davit extends AsyncDisposable {
  /** The socket. */
  readonly endpoint: string;
  /** The name and version of the server: "davit", "0.1.0". */
  readonly server: { readonly name: string; readonly version: string };
  /** The whole CRI, for what is not here. */
  readonly cri: Cri;
  /** Pulls an image unless it is present. Awaiting the result is enough; it also is an async iterable of progress. */
  pull(image: string, options?: PullOptions): Pull;
  /**
   * Loads the images of an archive (a docker archive or an OCI layout, by its path or as bytes), or makes an image of
   * a root file system. Needs no registry.
   */
  load(
    source: string | AsyncIterable<Uint8Array> | RootFs,
    options?: LoadOptions,
  ): Promise<readonly Image[]>;
  /**
   * Runs a container of this image in a pod of its own, and resolves when it is ready. If it ends before, this
   * rejects with the end of its log. A failure leaves nothing behind, except the image.
   */
  run(image: string, options?: RunOptions): Promise<Pod>;
  /**
   * Runs the pods of a Kubernetes manifest, as `davit run`: a text, the object of one Pod or a list of them, or the URL
   * of a file. If one fails, all are removed.
   */
  apply(manifest: string | URL | object, options?: ApplyOptions): Promise<readonly Pod[]>;
  /**
   * Runs a pod from a snapshot, by its object or id: its processes continue where they were. It has a name, an address
   * and empty volumes of its own, and is removed as those of `run`. The images of its containers must be on the server.
   */
  restore(snapshot: Snapshot | string, options?: RestoreOptions): Promise<Pod>;
  /**
   * Runs several pods at once from one snapshot, or from a pod that runs on; all of them or none. Each has a name of its
   * own, made of `name` if that is given.
   */
  fork(source: Snapshot | Pod, count: number, options?: RestoreOptions): Promise<Fork>;
  /** The snapshots of the server, the newest first. */
  snapshots(): Promise<readonly Snapshot[]>;
  /**
   * Keeps a snapshot that was exported, by the path of its archive or as bytes. A server trusts only its own, unless its
   * configuration says otherwise.
   */
  importSnapshot(
    source: string | AsyncIterable<Uint8Array>,
    options?: { readonly signal?: AbortSignal },
  ): Promise<Snapshot>;
  /** The pods of the server, the newest first. */
  pods(filter?: PodFilter): Promise<readonly Pod[]>;
  /** The images of the server. */
  images(): Promise<readonly Image[]>;
  /** What happens on the server, as it happens, until the signal is aborted or the loop is left. */
  events(options?: EventsOptions): AsyncIterable<DavitEvent>;
  /** As `await using`: removes what was run through this connection, and closes it. */
  close(): Promise<void>;
}

/** The ways to a server. */
export interface DavitConnections {
  /**
   * Connects to a davit server, or to another server of the CRI, with which only a part works.
   *
   * @throws DavitError `unavailable` with what to do when nobody answers
   */
  connect(options?: ConnectOptions): Promise<Davit>;
  /**
   * Starts a server of the program's own, for tests and CI: with its own directory, socket and bridge. It ends with
   * its pods, and leaves nothing, when the result is closed, or the program ends, however it ends. Needs root and the
   * davit program.
   */
  start(options?: StartOptions): Promise<Davit>;
}
