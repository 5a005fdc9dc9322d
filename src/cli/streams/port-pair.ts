/** A port of this machine and the pod's that it stands for. */
export interface PortPair {
  /** 0 for one that is free. */
  readonly local: number;
  readonly remote: number;
}

/** Reads `LOCAL:REMOTE`, `PORT` or `:REMOTE`; undefined for anything else. */
export function parsePortPair(text: string): PortPair | undefined {
  const [, before, after] = /^(?:(\d{0,5}):)?(\d{1,5})$/.exec(text) ?? [];
  if (after === undefined) return undefined;
  const remote = Number(after);
  const local = before === undefined ? remote : Number(before);
  if (remote < 1 || remote > 65_535 || local > 65_535) return undefined;
  return { local, remote };
}
