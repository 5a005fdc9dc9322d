import { isKind } from "../../base/errors.ts";
import type { Image, Mount } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { forEach, requiresForce, type Task } from "../lifecycle/each.ts";
import { containerPath, type PodContainer } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pick } from "../objects/pick.ts";
import { shortId } from "../output/figures.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { checkOperands } from "./stop.ts";

/** `davit rmi`. */
export const rmi: Command = {
  name: "rmi",
  section: "Images",
  summary: "Remove images",
  details:
    "Removes an image with all of its names. Images that containers use require --force: the containers\n" +
    "keep running, and the layers are removed with the containers. Image volumes count as well.",
  operands: [{ name: "IMAGE", many: true, optional: true, complete: "image" }],
  options: {
    force: { short: "f", doc: "Remove images even if containers use them" },
    all: { short: "a", doc: "Remove all images, except pinned ones" },
    unused: {
      doc: "Remove all images that no container uses, except pinned ones",
      alsoNamed: ["--prune"],
    },
  },
  examples: [
    { line: "davit rmi busybox", does: "Remove docker.io/library/busybox:latest" },
    { line: "davit rmi --unused", does: "Free disk space" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => removeAll(call, server)),
};

async function removeAll(call: Call, server: Server): Promise<number> {
  const all = (["unused", "all"] as const).find((name) => call.options.has(name));
  checkOperands(call, all, rmi);
  const objects = new Objects(server);
  const containers = await objects.containers();
  const chosen: { readonly word: string; readonly image: Image }[] = [];
  if (all !== undefined) {
    for (const image of await objects.images()) {
      if (image.pinned) continue;
      if (all === "unused" && userOf(image, containers) !== undefined) continue;
      chosen.push({ word: image.repoTags[0] ?? shortId(image.id), image });
    }
  }
  for (const word of new Set(call.operands)) {
    const found = await pick(word, ["image"], objects);
    if (found.kind === "image") chosen.push({ word, image: found.image });
  }
  const force = call.options.has("force");
  const tasks = chosen.map(({ word, image }): Task => {
    const work = async (): Promise<void> => {
      const user = force ? undefined : await anyUserOf(image, containers, server);
      if (user !== undefined) {
        throw requiresForce(
          `remove image "${word}": container "${containerPath(user)}" uses it; ` +
            "remove the container first, or use --force",
        );
      }
      const request = { image: { image: image.id } };
      const removal = server.client.image.removeImage(request, server.limit(60_000));
      await doing(`remove image "${word}"`, removal);
    };
    return { name: word, work };
  });
  return forEach(call, tasks);
}

/** A container that runs the image or has it as a volume. */
async function anyUserOf(
  image: Image,
  containers: readonly PodContainer[],
  server: Server,
): Promise<PodContainer | undefined> {
  const user = userOf(image, containers);
  // davit pins the images of image volumes; for others no status of a container is requested.
  if (user !== undefined || !image.pinned) return user;
  for (const each of containers) {
    const mounts = await mountsOf(each, server);
    if (mounts.some((mount) => mount.image?.imageRef === image.id)) return each;
  }
  return undefined;
}

/** Empty for a container that was removed meanwhile. */
async function mountsOf({ container }: PodContainer, server: Server): Promise<readonly Mount[]> {
  const request = { containerId: container.id };
  const status = server.client.runtime.containerStatus(request, server.limit());
  try {
    const answer = await doing(`read the status of container "${container.id}"`, status);
    return answer.status?.mounts ?? [];
  } catch (error) {
    if (isKind(error, "not-found")) return [];
    throw error;
  }
}

function userOf(image: Image, containers: readonly PodContainer[]): PodContainer | undefined {
  const names = new Set([image.id, ...image.repoTags, ...image.repoDigests]);
  return containers.find(({ container }) =>
    [container.imageId, container.imageRef, container.image?.image ?? ""].some((name) =>
      names.has(name),
    ),
  );
}
