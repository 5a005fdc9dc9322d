/** An operand of `davit cp`: a path in a container or on this machine. */
export interface CopyPath {
  /** undefined for a path on this machine. */
  readonly container: string | undefined;
  readonly path: string;
}

/**
 * Parses `CONTAINER:PATH` or a local path; a local path with a colon must begin with `/` or `.`. undefined
 * if the path is empty.
 */
export function parseCopyPath(text: string): CopyPath | undefined {
  const at = text.indexOf(":");
  if (at < 0 || /^[./]/.test(text)) {
    return text === "" ? undefined : { container: undefined, path: text };
  }
  const [container, path] = [text.slice(0, at), text.slice(at + 1)];
  return container === "" || path === "" ? undefined : { container, path };
}
