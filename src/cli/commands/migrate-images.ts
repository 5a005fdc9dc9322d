import type { Call, Command } from "../command-line/command.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { type Server, withServer } from "../server/session.ts";

const defaultAddress = "/run/containerd/containerd.sock";

/** `davit migrate images`. */
export const migrateImages: Command = {
  name: "migrate images",
  section: "Server",
  summary: "Take over images from containerd, without a registry",
  details:
    "Reads the blobs of containerd's content store over its socket, while containerd runs, and loads the images for\n" +
    "this node's platform with all of their names. Images that davit has already are skipped, so a call that\n" +
    "was interrupted can be repeated. Nothing changes in containerd. Images whose layers containerd has not kept\n" +
    "(discard_unpacked_layers) are reported with the pull that is needed, or pulled with --pull. For CRI-O, which\n" +
    "keeps no blobs, davit migrate plan --from crio prints what to do. Only with davit.",
  operands: [{ name: "IMAGE", optional: true, many: true }],
  options: {
    from: {
      value: "RUNTIME",
      doc: "The other runtime (default containerd)",
      complete: ["containerd"],
    },
    address: {
      value: "SOCKET",
      doc: `Socket of containerd (default ${defaultAddress})`,
      complete: "file",
    },
    namespace: { value: "NAME", doc: "Namespace in containerd (default k8s.io, kubelet's)" },
    pull: { doc: "Pull images that containerd has not kept whole, without credentials" },
  },
  examples: [
    { line: "davit migrate images", does: "Take over all images that kubelet has pulled" },
    { line: "davit migrate images nginx:1.29", does: "Take over one image" },
    {
      line: "davit migrate images --namespace moby --address /run/docker/containerd/containerd.sock",
      does: "Take over images of a Docker with containerd's image store",
    },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const { options, operands } = call;
  const from = options.text("from") ?? "containerd";
  if (from !== "containerd")
    throw new UsageError(`--from is "${from}": must be containerd`, migrateImages);
  const work = await import("../migrate/migrate-images.ts");
  return await work.migrateImages(call, server, {
    address: options.text("address") ?? defaultAddress,
    namespace: options.text("namespace") ?? "k8s.io",
    names: operands,
    pull: options.has("pull"),
  });
}
