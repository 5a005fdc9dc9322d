// Finds pods, containers and images by the names that users type: pure functions over the server's
// lists. A full id is preferred to a name, and a name to the prefix of an id.
import type { Container, Image, PodSandbox } from "../../gen/runtime/v1/api_pb.ts";

/** A container with its pod, if that is listed. */
export interface PodContainer {
  readonly container: Container;
  readonly pod: PodSandbox | undefined;
}

/**
 * The pods that a word can refer to: an id, NAME, NAMESPACE/NAME, or the prefix of an id. As in kubectl, pod/NAME is
 * NAME, unless a namespace has this name.
 */
export function findPods(word: string, pods: readonly PodSandbox[]): readonly PodSandbox[] {
  const found = findPodsExactly(word, pods);
  const [, name] = /^pods?\/(.+)$/.exec(word) ?? [];
  return found.length > 0 || name === undefined ? found : findPodsExactly(name, pods);
}

function findPodsExactly(word: string, pods: readonly PodSandbox[]): readonly PodSandbox[] {
  const whole = pods.filter(({ id }) => id === word);
  if (whole.length > 0) return whole;
  const named = pods.filter((pod) => word === podName(pod) || word === podPath(pod));
  if (named.length > 0) return newestOf(named, (pod) => `${podPath(pod)} ${podUid(pod)}`);
  return pods.filter(({ id }) => hasPrefix(id, word));
}

/**
 * The containers that a word can refer to: an id, NAME, POD/NAME, NAMESPACE/POD/NAME, or the prefix
 * of an id. Only the last attempt of a container is considered.
 */
export function findContainers(
  word: string,
  containers: readonly PodContainer[],
): readonly PodContainer[] {
  const whole = containers.filter(({ container }) => container.id === word);
  if (whole.length > 0) return whole;
  const named = containers.filter(({ container, pod }) => {
    const name = container.metadata?.name ?? "";
    if (word === name) return true;
    return (
      pod !== undefined &&
      (word === `${podName(pod)}/${name}` || word === `${podPath(pod)}/${name}`)
    );
  });
  if (named.length > 0) return newestAttempts(named);
  return containers.filter(({ container }) => hasPrefix(container.id, word));
}

/** The last attempt of each container. */
export function newestAttempts(containers: readonly PodContainer[]): readonly PodContainer[] {
  const newest = newestOf(
    containers.map((each) => ({ ...each, createdAt: each.container.createdAt })),
    ({ container }) => `${container.podSandboxId}/${container.metadata?.name ?? ""}`,
  );
  return newest.map(({ container, pod }) => ({ container, pod }));
}

/** The images that a word can refer to: an id, a name as in Docker, or the prefix of an id. */
export function findImages(word: string, images: readonly Image[]): readonly Image[] {
  const whole = images.filter(({ id }) => id === word || id === `sha256:${word}`);
  if (whole.length > 0) return whole;
  const names = imageNames(word);
  const named = images.filter(({ repoTags, repoDigests }) =>
    [...repoTags, ...repoDigests].some((name) => names.includes(name)),
  );
  if (named.length > 0) return named;
  return images.filter(({ id }) => hasPrefix(id.replace(/^sha256:/, ""), word));
}

/** Whether a word has no host: the configuration of the server says which image it means. */
export function isShortName(word: string): boolean {
  const slash = word.indexOf("/");
  const first = slash < 0 ? "" : word.slice(0, slash);
  return word !== "" && first !== "localhost" && !/[.:]/.test(first);
}

/** Whether a word is the id of the image, or a prefix of it. */
export function isIdOf(word: string, { id }: Pick<Image, "id">): boolean {
  return id === word || hasPrefix(id.replace(/^sha256:/, ""), word.replace(/^sha256:/, ""));
}

/** Whether a name has a tag. */
export function hasTag(word: string): boolean {
  return word.slice(word.lastIndexOf("/") + 1).includes(":");
}

/** A name with a tag, without it. */
export function repositoryOf(name: string): string {
  return name.slice(0, name.lastIndexOf(":"));
}

/** The full names of a short name: busybox is docker.io/library/busybox:latest. */
export function imageNames(word: string): readonly string[] {
  const tagged = hasTag(word) || word.includes("@") ? word : `${word}:latest`;
  return [tagged, `docker.io/${tagged}`, `docker.io/library/${tagged}`];
}

/** Joins containers with their pods. */
export function joinPods(
  containers: readonly Container[],
  pods: readonly PodSandbox[],
): readonly PodContainer[] {
  const byId = new Map(pods.map((pod) => [pod.id, pod]));
  return containers.map((container) => ({ container, pod: byId.get(container.podSandboxId) }));
}

/** The containers of a pod, or the one container: what a command for either is about. */
export function containersOf(
  object:
    | { readonly kind: "pod"; readonly pod: PodSandbox }
    | ({ readonly kind: "container" } & PodContainer)
    | { readonly kind: "image" },
  all: readonly PodContainer[],
): readonly PodContainer[] {
  if (object.kind === "container") return [object];
  if (object.kind === "image") return [];
  return all.filter(({ container }) => container.podSandboxId === object.pod.id);
}

/** The name of a pod without its namespace. */
export function podName(pod: PodSandbox | undefined): string {
  return pod?.metadata?.name ?? "";
}

/** NAMESPACE/NAME of a pod. */
export function podPath(pod: PodSandbox | undefined): string {
  return `${pod?.metadata?.namespace ?? ""}/${podName(pod)}`;
}

/** NAMESPACE/POD/NAME of a container; from its labels if the pod is not listed. */
export function containerPath({ container, pod }: PodContainer): string {
  const name = container.metadata?.name ?? "";
  if (pod !== undefined) return `${podPath(pod)}/${name}`;
  const { labels } = container;
  const [namespace, inPod] = ["namespace", "name"].map((key) => labels[`io.kubernetes.pod.${key}`]);
  return inPod === undefined ? name : `${namespace ?? ""}/${inPod}/${name}`;
}

function podUid(pod: PodSandbox): string {
  return pod.metadata?.uid ?? "";
}

/** Whether an id has this prefix. A word of one letter is more likely a wrong name. */
function hasPrefix(id: string, word: string): boolean {
  return word.length >= 2 && id.startsWith(word);
}

/** The newest item of each key. */
function newestOf<T extends { readonly createdAt: bigint }>(
  items: readonly T[],
  keyOf: (item: T) => string,
): readonly T[] {
  const newest = new Map<string, T>();
  for (const item of items) {
    const other = newest.get(keyOf(item));
    if (other === undefined || other.createdAt <= item.createdAt) newest.set(keyOf(item), item);
  }
  return [...newest.values()];
}
