/** One way to authenticate that a server offers (RFC 9110, section 11.6.1). */
export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  readonly scheme: string;
  /** By lower-case name. */
  readonly parameters: ReadonlyMap<string, string>;
}

const item =
  /\s*(?:,\s*)*(?:([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([\w!#$%&'*+.^`|~-]+)(?=\s|,|$))/y;

/**
 * The challenges of a `WWW-Authenticate` value; several may be in one line. Stops at the first
 * part that it cannot parse and returns those before it.
 */
export function parseChallenges(header: string | undefined): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  item.lastIndex = 0;
  for (let match = next(header); match !== null; match = next(header)) {
    const [, name, quoted, token, scheme] = match;
    if (scheme !== undefined) {
      challenges.push({ scheme: scheme.toLowerCase(), parameters: new Map() });
    } else if (name !== undefined) {
      const value = quoted?.replace(/\\(.)/gs, "$1") ?? token ?? "";
      challenges.at(-1)?.parameters.set(name.toLowerCase(), value);
    }
  }
  return challenges;
}

function next(header: string | undefined): RegExpExecArray | null {
  // An empty match would be found forever; `item` cannot match nothing, since both sides of its
  // choice take at least one letter.
  return header === undefined ? null : item.exec(header);
}
