import { create } from "@bufbuild/protobuf";
import { type Image, ListImagesResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { Objects } from "../objects/objects.ts";
import { messageToJson } from "../output/cri-message.ts";
import { formatBytes, shortId } from "../output/figures.ts";
import { listingOptions, printListing } from "../output/listing.ts";
import type { Column } from "../output/table.ts";
import { type Server, withServer } from "../server/session.ts";

/** One name of an image. An image with two names has two lines. */
interface NamedImage {
  readonly image: Image;
  readonly name: string;
  readonly tag: string;
}

/** `davit images`. */
export const images: Command = {
  name: "images",
  section: "Images",
  summary: "List images",
  operands: [{ name: "IMAGE", optional: true, complete: "image" }],
  options: {
    ...listingOptions,
    digests: { doc: "Also show digests, as -o wide does" },
    all: { short: "a", hidden: true, doc: "All images are always listed" },
  },
  examples: [
    { line: "davit images", does: "List all images with their sizes on disk" },
    { line: "davit images busybox -o wide", does: "List one image with its digest" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => list(call, server)),
};

async function list(call: Call, server: Server): Promise<number> {
  const objects = new Objects(server);
  const [word] = call.operands;
  const items = word === undefined ? await objects.images() : await objects.findRepository(word);
  const quiet = call.options.has("quiet");
  printListing(call, {
    items: quiet ? items.map((image) => ({ image, name: "", tag: "" })) : items.flatMap(named),
    idOf: ({ image }) => image.id,
    columns: columns({
      digests: call.options.has("digests"),
      whole: call.options.has("no-trunc"),
    }),
    message: () =>
      messageToJson(
        ListImagesResponseSchema,
        create(ListImagesResponseSchema, { images: [...items] }),
      ),
  });
  return exitCode.done;
}

function columns(shown: {
  readonly digests: boolean;
  readonly whole: boolean;
}): readonly Column<NamedImage>[] {
  return [
    { title: "IMAGE", of: ({ name }) => name },
    { title: "TAG", of: ({ tag }) => tag },
    { title: "IMAGE ID", of: ({ image: { id } }) => (shown.whole ? id : shortId(id)) },
    { title: "SIZE", of: ({ image }) => formatBytes(image.size), right: true },
    {
      title: "ARTIFACT",
      of: ({ image }) => image.spec?.annotations["davit.artifact.type"] ?? "",
      wide: true,
    },
    { title: "PINNED", of: ({ image }) => (image.pinned ? "yes" : ""), wide: true },
    {
      title: "USER",
      of: ({ image }) => image.username || String(image.uid?.value ?? ""),
      wide: true,
    },
    {
      title: "DIGEST",
      of: ({ image }) => image.repoDigests[0]?.split("@")[1] ?? "",
      ...(shown.digests ? {} : { wide: true }),
    },
  ];
}

function named(image: Image): readonly NamedImage[] {
  if (image.repoTags.length === 0) {
    const name = image.repoDigests[0]?.split("@")[0] ?? "<none>";
    return [{ image, name, tag: "<none>" }];
  }
  return image.repoTags.map((whole) => {
    const at = whole.lastIndexOf(":");
    return { image, name: whole.slice(0, at), tag: whole.slice(at + 1) };
  });
}
