import { editDistance } from "../../base/nearest.ts";

/**
 * Commands that change nothing, so that a wrong suggestion is harmless. Other commands are only
 * suggested for a single typo.
 */
const readOnlyCommands: ReadonlySet<string> = new Set([
  "pods",
  "ps",
  "images",
  "logs",
  "inspect",
  "why",
  "events",
  "wait",
  "inflight",
  "stats",
  "top",
  "config",
  "doctor",
  "info",
  "version",
  "completion",
]);

/** Commands of docker, podman, kubectl and crictl that davit does not have, with the equivalent. */
export const otherTools: Readonly<Record<string, string>> = {
  apply: 'use "davit run FILE" to run the Pods of a manifest',
  build: 'davit does not build images; use "davit load" for the archive of another tool',
  commit:
    'davit makes no images of containers; use "davit cp POD:PATH -" to copy files from a container',
  container: 'use "davit ps" to list containers',
  copy: 'use "davit cp" to copy files',
  create: 'use "davit run FILE" to run the Pods of a manifest',
  dashboard: 'use "davit ui" to serve a page for the browser',
  delete: 'use "davit rm POD" to remove a pod, or "davit down FILE" for those of a manifest',
  describe:
    'use "davit why POD" for state and history of a pod, or "davit inspect" for its full status',
  export: 'use "davit cp POD:PATH -" to write files of a container to stdout as a tar archive',
  get: 'use "davit pods", "davit ps" or "davit images" to list objects',
  image: 'use "davit images", "davit pull", "davit load" or "davit rmi"',
  inspecti: 'use "davit inspect IMAGE"',
  inspectp: 'use "davit inspect POD"',
  kill: 'use "davit stop -t 0"',
  list: 'use "davit pods", "davit ps" or "davit images" to list objects',
  login: 'use "davit pull --creds -" to read the credentials for a registry from stdin',
  ls: 'use "davit ps" to list containers, or "davit pods" to list pods',
  port: 'use "davit pods" for addresses, or "davit port-forward" to forward a local port to a pod',
  prune: 'use "davit rm --stopped" for pods and containers, or "davit rmi --unused" for images',
  push: "davit does not push images; use podman, buildah or skopeo",
  remove: 'use "davit rm" for pods and containers, or "davit rmi" for images',
  restart: 'use "davit run --replace FILE" to replace pods',
  rmp: 'use "davit rm POD"',
  runp: 'use "davit run FILE" to run the Pods of a manifest',
  start: 'a container starts only once; use "davit run --replace FILE" to replace its pod',
  statsp: 'use "davit stats POD"',
  status: 'use "davit why POD" for the state of a pod, or "davit info" for that of the server',
  stopp: 'use "davit stop POD"',
};

/**
 * The candidate of which a word is most likely a typo; undefined if there is none. It begins with the same
 * letter (or with the first two swapped), and at most a third of the letters differ, or one in a short word.
 */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  return closestOf(word, candidates)[0];
}

/** As `closest`, for command names; undefined also if several commands that change something match. */
export function closestCommand(word: string, names: Iterable<string>): string | undefined {
  const similar = closestOf(word, names);
  const safe = similar.find((name) => readOnlyCommands.has(name));
  if (safe !== undefined) return safe;
  const [only, ...more] = similar;
  if (only === undefined || more.length > 0) return undefined;
  return editDistance(word, only) === 1 ? only : undefined;
}

function closestOf(word: string, candidates: Iterable<string>): readonly string[] {
  let fewest = Math.max(1, Math.floor(word.length / 3));
  let best: readonly string[] = [];
  for (const candidate of new Set(candidates)) {
    if (!beginsAlike(word, candidate)) continue;
    const edits = editDistance(word, candidate);
    if (edits > fewest) continue;
    best = edits < fewest ? [candidate] : [...best, candidate];
    fewest = edits;
  }
  return best;
}

function beginsAlike(word: string, candidate: string): boolean {
  const [first, second] = word;
  if (first === undefined) return false;
  return first === candidate[0] || (first === candidate[1] && second === candidate[0]);
}
