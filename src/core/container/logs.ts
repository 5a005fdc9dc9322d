/** A line of a container's log. */
export interface LogLine {
  /** RFC 3339 with nanoseconds. Empty, or not a time, for a line that the runtime has not written. */
  readonly time: string;
  readonly stream: "stdout" | "stderr";
  /** The line of output continues in the next log line of the stream. */
  readonly partial: boolean;
  /** The output of the container without its newline; any bytes. */
  readonly text: Uint8Array;
}

/** Which lines of a log to read. */
export interface LogSelection {
  /** Only this number of lines from the end, before the times count. */
  readonly tail?: number | undefined;
  /** Only lines from this time on, in nanoseconds since 1970. */
  readonly sinceNs?: bigint | undefined;
  /** Only lines before this time. A followed log ends at it. */
  readonly untilNs?: bigint | undefined;
  /** Follow the log until `ended` is aborted: then it is complete. */
  readonly follow?: { readonly ended: AbortSignal } | undefined;
}

/** How a log was begun with an earlier one. */
export interface BegunLog {
  /** Lines of the earlier log that are not records of a CRI log, and were left out. */
  readonly dropped: number;
  /** Removes the log again, if it was made here and no other file has its name by now. */
  readonly remove: () => Promise<void>;
}

/** Reads the logs of containers, whichever runtime wrote them. Containers may be able to write in their directories. */
export interface ContainerLogs {
  /**
   * The lines of the log at a path, in batches of bounded size, read no faster than they are consumed. Rotations are
   * followed. The first batch of a followed log says that it is followed, and may be empty; its file need
   * not exist yet.
   *
   * `not-found` when the file does not exist, `failed-precondition` when something else than a file is there, and
   * `resource-exhausted` when too many logs are being read. Returns when `signal` is aborted.
   */
  read(
    path: string,
    selection: LogSelection,
    signal: AbortSignal,
  ): AsyncIterable<readonly LogLine[]>;
  /**
   * Reports that the log at a path continues in a new file, which is there now. Readers that are not that far keep it
   * open, so that they miss no line even if it is rotated away before they read it. Rejects never.
   */
  rotated(path: string): Promise<void>;
  /**
   * Begins the log at a path with the end of an earlier log in the file `from`, which somebody else may have written: only
   * records of a CRI log are copied, 64 MiB at most. The file and its directory are made if they are missing. A log that
   * has lines already is left as it is, and so is the path when this rejects. Nothing is done if `from` does not exist.
   *
   * `invalid-argument` for a file that is not a log, `failed-precondition` when something else than a file is at one of the
   * paths, or a link on the way to the log.
   */
  begin(path: string, from: string, signal: AbortSignal): Promise<BegunLog>;
  /** Ends all reads with this error, and refuses others. */
  close(reason: Error): void;
}
