import { editDistance } from "../../base/nearest.ts";

/**
 * Commands that only look: a wrong guess at one of them does no harm. Every other one changes or ends
 * something, and is proposed for a plain typo of its name alone.
 */
const looking: ReadonlySet<string> = new Set([
  "pods",
  "ps",
  "images",
  "logs",
  "inspect",
  "why",
  "inflight",
  "stats",
  "config",
  "doctor",
  "info",
  "version",
  "completion",
]);

/** Words of docker, podman, kubectl and crictl that davit has no command for: what does the same. */
export const otherTools: Readonly<Record<string, string>> = {
  apply: '"davit run FILE" runs the Pods of a manifest',
  build: 'davit builds no images: push one to a registry, then "davit pull IMAGE"',
  commit: 'davit makes no images: "davit cp POD:PATH -" takes files out of a container',
  container: '"davit ps" lists containers',
  copy: '"davit cp" copies files',
  create: '"davit run FILE" makes the Pods of a manifest and starts them',
  delete: '"davit rm POD" removes a pod, "davit down FILE" those of a manifest',
  describe: '"davit why POD" tells how a pod came to its state, "davit inspect" all that there is',
  events: '"davit inflight" shows what is being done, "davit why POD" what was done to a pod',
  export: '"davit cp POD:PATH -" writes files of a container to stdout, as a tar archive',
  get: '"davit pods", "davit ps" and "davit images" list what there is',
  image: '"davit images" lists images, "davit pull" and "davit rmi" fetch and remove them',
  import: 'davit takes images from registries: push it to one, then "davit pull IMAGE"',
  inspecti: '"davit inspect IMAGE" does it',
  inspectp: '"davit inspect POD" does it',
  kill: '"davit stop -t 0" kills at once',
  list: '"davit pods", "davit ps" and "davit images" list what there is',
  load: 'davit takes images from registries: push it to one, then "davit pull IMAGE"',
  login: '"davit pull --creds -" reads the credentials for a registry from stdin',
  ls: '"davit ps" lists containers, "davit pods" pods',
  port: '"davit pods" has addresses, "davit port-forward" leads a local port into a pod',
  prune: '"davit rm --stopped" removes what does not run, "davit rmi --unused" images',
  push: "davit sends no images to registries: podman, buildah and skopeo do",
  remove: '"davit rm" removes pods and containers, "davit rmi" images',
  restart: '"davit run --replace FILE" puts new pods in the place of the old ones',
  rmp: '"davit rm POD" does it',
  runp: '"davit run FILE" runs the Pods of a manifest',
  save: "davit writes no images to files: skopeo and podman do",
  start: 'a container starts once: "davit run --replace FILE" puts a new pod in its place',
  statsp: '"davit stats POD" does it',
  status: '"davit why POD" tells the state of a pod, "davit info" that of the server',
  stopp: '"davit stop POD" does it',
  top: '"davit stats -w" shows what containers use, "davit exec POD ps" the processes of one',
};

/**
 * The candidate that a word is most likely a typo of, or undefined. It begins with the same letter (or with
 * the first two swapped), and at most a third of the word's letters differ, one in a short word: what is
 * further away is another word, not a typo.
 */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  return closestOf(word, candidates)[0];
}

/** As `closest`, of the names of commands; undefined also where it could be one of several that act. */
export function closestCommand(word: string, names: Iterable<string>): string | undefined {
  const meant = closestOf(word, names);
  const safe = meant.find((name) => looking.has(name));
  if (safe !== undefined) return safe;
  const [only, ...more] = meant;
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
