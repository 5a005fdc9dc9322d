// Names, as people type them, to pods, containers and images: pure functions over the server's
// lists. A whole id counts first, then a name, then the beginning of an id.
import type { Container, Image, PodSandbox } from "../../gen/runtime/v1/api_pb.ts";

/** A container with the pod that it is in, where that is listed. */
export interface PodContainer {
  readonly container: Container;
  readonly pod: PodSandbox | undefined;
}

/** The pods that a word can mean: an id, NAME, NAMESPACE/NAME, or the beginning of an id. */
export function findPods(word: string, pods: readonly PodSandbox[]): readonly PodSandbox[] {
  const whole = pods.filter(({ id }) => id === word);
  if (whole.length > 0) return whole;
  const named = pods.filter((pod) => word === podName(pod) || word === podPath(pod));
  if (named.length > 0) return newestOf(named, (pod) => `${podPath(pod)} ${podUid(pod)}`);
  return pods.filter(({ id }) => beginsWith(id, word));
}

/**
 * The containers that a word can mean: an id, NAME, POD/NAME, NAMESPACE/POD/NAME, or the beginning
 * of an id. Of several runs of one container the last one is meant.
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
  if (named.length > 0) {
    const newest = newestOf(
      named.map((each) => ({ ...each, createdAt: each.container.createdAt })),
      ({ container }) => `${container.podSandboxId}/${container.metadata?.name ?? ""}`,
    );
    return newest.map(({ container, pod }) => ({ container, pod }));
  }
  return containers.filter(({ container }) => beginsWith(container.id, word));
}

/** The images that a word can mean: an id, a name as Docker reads it, or the beginning of an id. */
export function findImages(word: string, images: readonly Image[]): readonly Image[] {
  const whole = images.filter(({ id }) => id === word || id === `sha256:${word}`);
  if (whole.length > 0) return whole;
  const names = imageNames(word);
  const named = images.filter(({ repoTags, repoDigests }) =>
    [...repoTags, ...repoDigests].some((name) => names.includes(name)),
  );
  if (named.length > 0) return named;
  return images.filter(({ id }) => beginsWith(id.replace(/^sha256:/, ""), word));
}

/** The full names that a short one can stand for: busybox is docker.io/library/busybox:latest. */
export function imageNames(word: string): readonly string[] {
  const last = word.slice(word.lastIndexOf("/") + 1);
  const tagged = last.includes(":") || word.includes("@") ? word : `${word}:latest`;
  return [tagged, `docker.io/${tagged}`, `docker.io/library/${tagged}`];
}

/** Containers beside their pods. */
export function joinPods(
  containers: readonly Container[],
  pods: readonly PodSandbox[],
): readonly PodContainer[] {
  const byId = new Map(pods.map((pod) => [pod.id, pod]));
  return containers.map((container) => ({ container, pod: byId.get(container.podSandboxId) }));
}

/** The name of a pod, without its namespace. */
export function podName(pod: PodSandbox | undefined): string {
  return pod?.metadata?.name ?? "";
}

/** NAMESPACE/NAME of a pod. */
export function podPath(pod: PodSandbox | undefined): string {
  return `${pod?.metadata?.namespace ?? ""}/${podName(pod)}`;
}

/** NAMESPACE/POD/NAME of a container; without a listed pod what is known of it. */
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

/** Letters enough to be meant: a word of one letter is rather a name that is not there. */
function beginsWith(id: string, word: string): boolean {
  return word.length >= 2 && id.startsWith(word);
}

/** Of the items with the same key the one that was made last. */
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
