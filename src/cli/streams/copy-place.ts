/** A file or directory as a person names it to `davit cp`: of a container, or of this machine. */
export interface CopyPlace {
  /** Undefined: this machine's. */
  readonly container: string | undefined;
  readonly path: string;
}

/**
 * Reads `CONTAINER:PATH` or a path of this machine; one with a colon begins with `/` or `.`. Undefined
 * without a path.
 */
export function parseCopyPlace(text: string): CopyPlace | undefined {
  const at = text.indexOf(":");
  if (at < 0 || /^[./]/.test(text)) {
    return text === "" ? undefined : { container: undefined, path: text };
  }
  const [container, path] = [text.slice(0, at), text.slice(at + 1)];
  return container === "" || path === "" ? undefined : { container, path };
}
