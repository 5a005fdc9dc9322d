/** A pattern for images, as kubelet's credential providers have it. */
export interface ImagePattern {
  /** The parts of the host between its dots. */
  readonly host: readonly string[];
  readonly port: string;
  /** A prefix, with the slash at its beginning. */
  readonly path: string;
}

/**
 * Parses `HOST[:PORT][/PATH]`, where the parts of the host may contain `*`: `*.registry.example`,
 * `registry.*.example:5000/team`. Undefined for anything else.
 */
export function parseImagePattern(text: string): ImagePattern | undefined {
  const match = /^([^/:?#@[\]\\\s]+)(?::(\d{1,5}))?(\/[^?#\s]*)?$/.exec(text);
  if (match === null) return undefined;
  const [, host = "", port = "", path = ""] = match;
  return { host: host.split("."), port, path };
}

/**
 * Whether a pattern fits an image without tag and digest, by kubelet's rules (pkg/credentialprovider,
 * URLsMatch): the same port, as many parts of the host, each of which fits, and a path that begins with
 * the pattern's.
 */
export function matchesImage(pattern: ImagePattern, image: string): boolean {
  const slash = image.indexOf("/");
  const address = slash < 0 ? image : image.slice(0, slash);
  const path = slash < 0 ? "" : image.slice(slash);
  const [, host = "", port = ""] = /^(.*?)(?::(\d+))?$/.exec(address) ?? [];
  const parts = host.split(".");
  return (
    port === pattern.port &&
    parts.length === pattern.host.length &&
    path.startsWith(pattern.path) &&
    pattern.host.every((part, index) => matchesPart(part, parts[index] ?? ""))
  );
}

/** `*` stands for any text. Takes the first place for each piece, so that the time is bounded. */
function matchesPart(pattern: string, text: string): boolean {
  const [first = "", ...pieces] = pattern.split("*");
  const last = pieces.pop();
  if (last === undefined) return text === first;
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const piece of pieces) {
    const found = text.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}
