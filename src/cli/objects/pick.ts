import { ContainerState, type Image, type PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { closest } from "../command-line/suggest.ts";
import { shortId } from "../output/figures.ts";
import {
  containerPath,
  findContainers,
  findPods,
  type PodContainer,
  podName,
  podPath,
} from "./find.ts";
import type { Objects } from "./objects.ts";

/** The pod, container or image that a word refers to. */
export type Found =
  | { readonly kind: "pod"; readonly pod: PodSandbox }
  | ({ readonly kind: "container" } & PodContainer)
  | { readonly kind: "image"; readonly image: Image };

/** A kind of object that a command accepts. */
export type Kind = Found["kind"];

/**
 * The object of these kinds that a word refers to. Throws a CommandFailure with the exit code `notFound` if
 * there is none, suggesting the nearest name, or if the name is ambiguous, listing the matches.
 */
export async function pick(word: string, kinds: readonly Kind[], objects: Objects): Promise<Found> {
  const found: Found[] = [];
  if (kinds.includes("pod")) {
    found.push(...findPods(word, await objects.pods()).map(asPod));
  }
  if (kinds.includes("container")) {
    const containers = findContainers(word, await objects.containers());
    found.push(...containers.map((each) => ({ kind: "container" as const, ...each })));
  }
  if (kinds.includes("image")) {
    const images = await objects.findImages(word);
    found.push(...images.map((image) => ({ kind: "image" as const, image })));
  }
  const [only, ...more] = found;
  const what = kinds.join(" or ");
  if (only === undefined) {
    const named = splitKind(word);
    if (named !== undefined && kinds.includes(named.kind)) {
      return await pick(named.name, [named.kind], objects);
    }
    throw await notFound(word, what, kinds, objects);
  }
  if (more.length === 0) return only;
  throw new CommandFailure(
    exitCode.notFound,
    `find ${what} "${word}": the name is ambiguous; use one of:\n${found.map(describe).join("\n")}`,
  );
}

/** A name with its kind, as in kubectl: pod/NAME, container/NAME. */
function splitKind(word: string): { readonly kind: Kind; readonly name: string } | undefined {
  const [, kind, name = ""] = /^(po|pod|container)s?\/(.+)$/.exec(word) ?? [];
  if (kind === undefined) return undefined;
  return { kind: kind === "container" ? kind : "pod", name };
}

/** As `pick`, for pods. */
export async function pickPod(word: string, objects: Objects): Promise<PodSandbox> {
  const found = await pick(word, ["pod"], objects);
  if (found.kind !== "pod") throw new TypeError("pick() returned another kind");
  return found.pod;
}

/**
 * As `pick`, for containers. A pod refers to its only container, or its only running one, or to that of the
 * name `inPod`.
 */
export async function pickContainer(
  word: string,
  objects: Objects,
  inPod?: string,
): Promise<PodContainer> {
  if (inPod !== undefined) return await pickInPod(word, inPod, objects);
  const containers = await objects.containers();
  const named = splitKind(word);
  if (
    named?.kind === "pod" &&
    findContainers(word, containers).length === 0 &&
    findPods(named.name, await objects.pods()).length > 0
  ) {
    return await pickOnlyContainer(named.name, objects);
  }
  return await pickOnlyContainer(word, objects);
}

/** The container of a name in a pod: the last attempt. */
async function pickInPod(word: string, name: string, objects: Objects): Promise<PodContainer> {
  const pod = await pickPod(word, objects);
  const own = (await objects.containers()).filter(
    ({ container }) => container.podSandboxId === pod.id,
  );
  const [found] = findContainers(`${podPath(pod)}/${name}`, own);
  if (found !== undefined) return found;
  const names = new Set(own.map(({ container }) => container.metadata?.name ?? ""));
  throw new CommandFailure(
    exitCode.notFound,
    `find container "${name}" of pod "${podPath(pod)}": not found; the pod has ` +
      (names.size === 0 ? "no containers" : [...names].join(", ")),
  );
}

async function pickOnlyContainer(word: string, objects: Objects): Promise<PodContainer> {
  const containers = await objects.containers();
  if (findContainers(word, containers).length === 0) {
    const [pod, ...more] = findPods(word, await objects.pods());
    const inPod = containers.filter(({ container }) => container.podSandboxId === pod?.id);
    const names = new Set(inPod.map(({ container }) => container.metadata?.name ?? ""));
    const running = inPod.filter(
      ({ container }) => container.state === ContainerState.CONTAINER_RUNNING,
    );
    const [name = ""] = names;
    const only = names.size === 1 ? findContainers(name, inPod) : running;
    if (pod !== undefined && more.length === 0 && only[0] !== undefined && only.length === 1) {
      return only[0];
    }
    if (pod !== undefined && more.length === 0) {
      const list = [...names].map((each) => `  ${podName(pod)}/${each}`).join("\n");
      throw new CommandFailure(
        exitCode.notFound,
        names.size === 0
          ? `find a container of pod "${podPath(pod)}": the pod has no containers`
          : `find a container of pod "${podPath(pod)}": the pod has ${names.size} containers; use one of:\n${list}`,
      );
    }
  }
  const found = await pick(word, ["container"], objects);
  if (found.kind !== "container") throw new TypeError("pick() returned another kind");
  return found;
}

function asPod(pod: PodSandbox): Found {
  return { kind: "pod", pod };
}

function describe(found: Found): string {
  switch (found.kind) {
    case "pod":
      return `  ${shortId(found.pod.id)}  pod ${podPath(found.pod)}`;
    case "container":
      return `  ${shortId(found.container.id)}  container ${containerPath(found)}`;
    case "image":
      return `  ${shortId(found.image.id)}  image ${found.image.repoTags.join(", ")}`;
  }
}

async function notFound(
  word: string,
  what: string,
  kinds: readonly Kind[],
  objects: Objects,
): Promise<CommandFailure> {
  const names = new Set<string>();
  if (kinds.includes("pod")) for (const pod of await objects.pods()) names.add(podName(pod));
  if (kinds.includes("container")) {
    for (const { container } of await objects.containers()) {
      names.add(container.metadata?.name ?? "");
    }
  }
  const similar = closest(word, names);
  const listed = { pod: "pods", container: "ps -a", image: "images" } as const;
  const lists = kinds.map((kind) => `"davit ${listed[kind]}"`).join(" and ");
  return new CommandFailure(
    exitCode.notFound,
    `find ${what} "${word}": not found${similar === undefined ? "" : `, did you mean "${similar}"?`}` +
      `; see ${lists}`,
  );
}
