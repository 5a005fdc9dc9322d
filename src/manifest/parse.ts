import { isScalar, LineCounter, parseAllDocuments } from "yaml";
import { RuntimeError } from "../base/errors.ts";
import type { ManifestFinding, ManifestText } from "./fields.ts";
import { type PodManifest, type PodNames, type NodeInfo, readPod, readPodNames } from "./pod.ts";

/** The most errors of a manifest that its message has. */
const maxShown = 100;

/** A manifest that is invalid or not supported. The message has a line for each error, up to a limit. */
export class ManifestError extends RuntimeError {
  constructor(file: string, findings: readonly ManifestFinding[]) {
    const lines = findings
      .toSorted((a, b) => a.line - b.line)
      .slice(0, maxShown)
      .map(({ line, message }) => `${file}:${line}: ${message}`);
    const others = findings.length - lines.length;
    if (others > 0) lines.push(`${file}: and ${others} more`);
    super("invalid-argument", lines.join("\n"));
    this.name = "ManifestError";
  }
}

/**
 * Parses the Pods of a YAML text (several are separated by `---`) into the PodSandboxConfigs that
 * kubelet would send to the runtime (see kubelet's generatePodSandboxConfig), and their containers.
 *
 * Throws a ManifestError with all fields that are invalid or not supported, and their lines.
 * `file` is the name of the text in errors.
 */
export function parsePodManifests(yaml: string, file: string, node: NodeInfo): PodManifest[] {
  return parse(yaml, file, (text) => readPod(text, node));
}

/** Parses only the names of the Pods in a YAML text. Throws as `parsePodManifests`. */
export function parsePodNames(yaml: string, file: string): PodNames[] {
  return parse(yaml, file, readPodNames, true);
}

function parse<T extends PodNames>(
  yaml: string,
  file: string,
  read: (text: ManifestText) => T,
  namesOnly = false,
): T[] {
  const lines = new LineCounter();
  const documents = unlessTooDeep(file, () =>
    // Pretty errors take time that grows with the square of their number.
    parseAllDocuments(yaml, {
      lineCounter: lines,
      uniqueKeys: true,
      logLevel: "error",
      prettyErrors: false,
    }),
  );
  const findings: ManifestFinding[] = [];
  const pods: T[] = [];
  for (const document of documents) {
    for (const error of document.errors) {
      const message = error.message.split(/ at line |\n/)[0] ?? "";
      findings.push({ line: lines.linePos(error.pos[0]).line, message: `not YAML: ${message}` });
    }
    if (document.errors.length > 0 || isEmpty(document.contents)) continue;
    const pod = read({ document, lines, findings });
    const isDuplicate = pods.some(
      ({ name, namespace }) => name === pod.name && namespace === pod.namespace,
    );
    if (isDuplicate && !namesOnly) {
      const line = lines.linePos(document.range[0]).line;
      findings.push({ line, message: `duplicate pod "${pod.namespace}/${pod.name}"` });
    }
    pods.push(pod);
  }
  if (findings.length > 0) throw new ManifestError(file, findings);
  if (pods.length === 0) {
    throw new ManifestError(file, [
      { line: 1, message: "no Pod found; add a document with kind: Pod" },
    ]);
  }
  return pods;
}

/** The parser of YAML is recursive: a text can be nested too deeply for it. */
function unlessTooDeep<T>(file: string, parseText: () => T): T {
  try {
    return parseText();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ManifestError(file, [{ line: 1, message: "not YAML: it is nested too deeply" }]);
  }
}

/** Whether a document is empty, such as after a "---" at the end of a file. */
function isEmpty(contents: unknown): boolean {
  return contents === null || (isScalar(contents) && contents.value === null);
}
