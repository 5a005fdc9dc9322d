/** A number of bytes, or a quantity as in Kubernetes: "512Mi", "2G". */
export type Bytes = number | `${number}${"" | "k" | "M" | "G" | "Ki" | "Mi" | "Gi"}`;

/** A port of a container: its number, or also the port of the host that leads to it. */
export type Port =
  | number
  | {
      readonly container: number;
      /** The port of the host. */
      readonly host: number;
      /** The address of the host; all of them if not given. */
      readonly address?: string;
      readonly protocol?: "TCP" | "UDP";
    };

/** A directory or file of this machine in a container, or an empty directory that ends with the pod. */
export type Mount =
  | { readonly host: string; readonly at: string; readonly readOnly?: boolean }
  | { readonly tmp: string };

/**
 * The network of a pod: `pod`, an address of its own; `host`, that of the host; `none`, only its own loopback;
 * `allow`, an address of its own, from which only the listed destinations can be reached.
 */
export type Network =
  | "pod"
  | "host"
  | "none"
  | {
      /**
       * What may be reached: an address or a range, with or without a port, such as "10.0.0.5:5432",
       * "192.168.0.0/16", or "dns" for the name servers of the pod. docs/sdk.md has all forms.
       */
      readonly allow: readonly string[];
    };

/** When a container counts as ready. */
export type Ready =
  /** A TCP port accepts connections. */
  | { readonly port: number }
  /** A path of an HTTP server answers with this status, or any one below 400. */
  | { readonly http: string; readonly port: number; readonly status?: number }
  /** A line of the log matches. */
  | { readonly log: RegExp }
  /** A command in the container exits with 0. */
  | { readonly command: readonly string[] };

/** Options of `run`. */
export interface RunOptions {
  /** A name for the pod; one that contains the image's name if not given. */
  readonly name?: string;
  /** The Kubernetes namespace; `default` if not given. */
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Replaces the entrypoint of the image. */
  readonly command?: readonly string[];
  /** Replaces the arguments of the image. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** An absolute path. */
  readonly workdir?: string;
  /** A user id, instead of that of the image. */
  readonly user?: number;
  /** A group id. */
  readonly group?: number;
  /** Ports of the host. Ports that only `forward` or the pod's address use need not be listed. */
  readonly ports?: readonly Port[];
  readonly mounts?: readonly Mount[];
  readonly network?: Network;
  /** The most memory that it may use; beyond it, the kernel kills it. */
  readonly memory?: Bytes;
  /** The most CPU time that it may use: 0.5 is half of one processor. */
  readonly cpus?: number;
  /** The most processes and threads. */
  readonly pids?: number;
  /** The most space for files that it writes to its own root. The node must have project quotas. */
  readonly disk?: Bytes;
  /** Its root cannot be written. Mounts can. */
  readonly readOnlyRoot?: boolean;
  /** Capabilities besides, or without, the default ones: `{ drop: ["ALL"] }`. */
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
  /** Its programs cannot gain privileges, for example by setuid. */
  readonly noNewPrivileges?: boolean;
  /** Maps its users to ids of the node that nobody else has. */
  readonly userNamespace?: boolean;
  /** The name of a handler (RuntimeClass), such as one for virtual machines. */
  readonly handler?: string;
  /** Pull the image if it is `missing` (if not given), `always`, or `never`. */
  readonly pull?: "missing" | "always" | "never";
  /** Credentials for the registry. */
  readonly credentials?: Credentials;
  /** When `run` resolves. Without it: when the process runs. */
  readonly ready?: Ready;
  /** How long it may take until it is ready; 60 s if not given. */
  readonly readyTimeoutMs?: number;
  /** The pod is removed after this time. */
  readonly timeoutMs?: number;
  /** How long it may take to end after its stop signal before it is killed, in seconds; 10 if not given. */
  readonly graceSeconds?: number;
  /** What the server does when this program ends, however it ends: `remove` the pod (if not given), or `keep` it. */
  readonly onDisconnect?: "remove" | "keep";
  /** Cancels the run, and removes what was made. */
  readonly signal?: AbortSignal;
}

/** Options of `apply`. */
export interface ApplyOptions {
  /** Remove existing pods of the same names first. */
  readonly replace?: boolean;
  /** As in `RunOptions`. */
  readonly onDisconnect?: "remove" | "keep";
  readonly signal?: AbortSignal;
}

/** A user of a registry. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Options of `pull`. */
export interface PullOptions {
  readonly credentials?: Credentials;
  /** Pull even if the image is present: the tag may have moved. */
  readonly always?: boolean;
  readonly signal?: AbortSignal;
}

/** What `load` makes an image of, besides an archive: a directory, or an archive of one, with a configuration. */
export interface RootFs {
  /** A directory, or an archive of its files as tar, perhaps compressed. */
  readonly rootfs: string | AsyncIterable<Uint8Array>;
  /** The image's name. */
  readonly tag: string;
  readonly config?: ImageConfig;
}

/** The configuration of an image. */
export interface ImageConfig {
  readonly entrypoint?: readonly string[];
  readonly cmd?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly workdir?: string;
  readonly user?: string;
}

/** Options of `load`. */
export interface LoadOptions {
  /** The name of the only image of an archive, instead of those in it. */
  readonly tag?: string;
  readonly signal?: AbortSignal;
}

/** Options of `Davit.connect`. */
export interface ConnectOptions {
  /** unix:///path or an absolute path. Without it: DAVIT_ENDPOINT, else /run/davit/davit.sock. */
  readonly endpoint?: string;
  /** Ends the attempt to connect. */
  readonly signal?: AbortSignal;
}

/** Options of `Davit.start`. */
export interface StartOptions {
  /** The davit program. Without it: DAVIT_PROGRAM, else `davit` on PATH. */
  readonly program?: string;
  /**
   * The network of its pods: a bridge of its own (if not given), from which they reach this machine and each other;
   * none; or that of a CNI configuration file.
   */
  readonly network?: "bridge" | "none" | { readonly conflist: string };
  /** A directory for its images and records, which is kept for the next one. Without it: a temporary one. */
  readonly root?: string;
  /** More of its configuration, as TOML (docs/configuration.md). */
  readonly config?: string;
  /** Where its log goes; nowhere if not given. */
  readonly onLog?: (line: string) => void;
  /** Ends the attempt to start it. */
  readonly signal?: AbortSignal;
}
