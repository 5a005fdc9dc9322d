import { isScalar, LineCounter, parseAllDocuments } from "yaml";
import { RuntimeError } from "../base/errors.ts";
import type { ManifestFinding, ManifestText } from "./fields.ts";
import { type PodManifest, type PodNames, type PodNode, readPod, readPodNames } from "./pod.ts";

/** A manifest that davit does not run, with all that is wrong in it: a finding a line. */
export class ManifestError extends RuntimeError {
  constructor(file: string, findings: readonly ManifestFinding[]) {
    const lines = findings
      .toSorted((a, b) => a.line - b.line)
      .map(({ line, message }) => `${file}:${line}: ${message}`);
    super("invalid-argument", lines.join("\n"));
    this.name = "ManifestError";
  }
}

/**
 * Reads the Pods of a YAML text (more than one are separated by `---`) and makes of each what
 * kubelet would ask the runtime for: see kubelet's generatePodSandboxConfig.
 *
 * Throws a ManifestError naming every field that is wrong or that davit does not do, with its line.
 * `file` is what the error calls the text.
 */
export function parsePodManifests(yaml: string, file: string, node: PodNode): PodManifest[] {
  return parse(yaml, file, (text) => readPod(text, node));
}

/** Reads only which Pods a YAML text is about. Throws as `parsePodManifests`. */
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
  const documents = parseAllDocuments(yaml, { lineCounter: lines, uniqueKeys: true });
  const findings: ManifestFinding[] = [];
  const pods: T[] = [];
  for (const document of documents) {
    for (const error of document.errors) {
      const message = error.message.split(/ at line |\n/)[0] ?? "";
      findings.push({ line: lines.linePos(error.pos[0]).line, message: `not YAML: ${message}` });
    }
    if (document.errors.length > 0 || isEmpty(document.contents)) continue;
    const pod = read({ document, lines, findings });
    const twice = pods.some(
      ({ name, namespace }) => name === pod.name && namespace === pod.namespace,
    );
    if (twice && !namesOnly) {
      const line = lines.linePos(document.range[0]).line;
      findings.push({ line, message: `pod "${pod.namespace}/${pod.name}" is there twice` });
    }
    pods.push(pod);
  }
  if (findings.length > 0) throw new ManifestError(file, findings);
  if (pods.length === 0) {
    throw new ManifestError(file, [{ line: 1, message: "there is no Pod in it" }]);
  }
  return pods;
}

/** As what follows a "---" at the end of a file. */
function isEmpty(contents: unknown): boolean {
  return contents === null || (isScalar(contents) && contents.value === null);
}
