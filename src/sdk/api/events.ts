/** Something that happened to a container. */
export interface ContainerEvent {
  readonly type:
    | "container-created"
    | "container-started"
    | "container-ended"
    | "container-removed";
  readonly time: Date;
  readonly containerId: string;
  readonly podId: string;
  /** The name of the container; undefined if the server does not tell it. */
  readonly container: string | undefined;
  /** The exit code of a container that ended, if the server tells it. */
  readonly exitCode: number | undefined;
  /** Why it ended, in one word, if the server tells it. */
  readonly reason: string | undefined;
}

/** Something that happened to an image. */
export interface ImageEvent {
  readonly type: "image-pulled" | "image-removed";
  readonly time: Date;
  readonly id: string;
  readonly names: readonly string[];
}

/** The kernel killed a process of a container for lack of memory. The container itself may still run. */
export interface OomEvent {
  readonly type: "oom-killed";
  readonly time: Date;
  readonly containerId: string;
  readonly podId: string;
}

/** A plugin (NRI) takes part from now on, or no longer. */
export interface PluginEvent {
  readonly type: "plugin-connected" | "plugin-lost";
  readonly time: Date;
  readonly name: string;
  readonly index: string;
  /** Why it was lost. */
  readonly reason: string | undefined;
}

/** Something that happened on the server. */
export type DavitEvent = ContainerEvent | ImageEvent | OomEvent | PluginEvent;

/** Options of `events`. */
export interface EventsOptions {
  /** Ends the loop, without an error. */
  readonly signal?: AbortSignal;
}
