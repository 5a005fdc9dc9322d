/** A local port, and the port of the pod to which it is forwarded. */
export interface PortPair {
  /** 0 for any free port. */
  readonly local: number;
  readonly remote: number;
}

/** Parses `LOCAL:REMOTE`, `PORT` or `:REMOTE`; undefined if it is invalid. */
export function parsePortPair(text: string): PortPair | undefined {
  const [, before, after] = /^(?:(\d{0,5}):)?(\d{1,5})$/.exec(text) ?? [];
  if (after === undefined) return undefined;
  const remote = Number(after);
  const local = before === undefined ? remote : Number(before);
  if (remote < 1 || remote > 65_535 || local > 65_535) return undefined;
  return { local, remote };
}
