import { counted } from "../../base/counted.ts";
import { formatBytes } from "../output/figures.ts";
import { printable } from "../output/printable.ts";
import type { KubeletEndpoint } from "./kubelet-endpoint.ts";

const maxPods = 20;

/** What was found on a node. */
export interface NodeFacts {
  readonly from: "containerd" | "crio";
  readonly nodeName: string;
  readonly kubelet: KubeletEndpoint | undefined;
  /** The socket that was asked for pods and images. */
  readonly socket: string;
  /** What runs there, or why it is not known. */
  readonly running:
    | {
        readonly runtime: string;
        /** NAMESPACE/NAME of those that are ready. */
        readonly pods: readonly string[];
        readonly containers: number;
        readonly images: number;
        readonly imageBytes: bigint;
      }
    | { readonly problem: string };
  /** davit's directory for images, and the free space of its file system. */
  readonly root: string;
  readonly freeBytes: bigint | undefined;
  readonly davitSocket: string;
  readonly cni: {
    readonly theirs: string;
    readonly ours: string;
    /** The first configuration in the directory that pods use now. */
    readonly file: string | undefined;
    readonly hasPortmap: boolean;
  };
}

/** What is on the node, and the commands of a move to davit and back. */
export function formatPlan(facts: NodeFacts): string {
  const parts = [["This node", ...found(facts)], ...steps(facts), ...backSteps(facts)];
  return `${parts.map((lines) => lines.map(printable).join("\n")).join("\n\n")}\n`;
}

function found({ kubelet, running, socket, root, freeBytes, cni }: NodeFacts): readonly string[] {
  const lines = [
    kubelet === undefined
      ? "  kubelet   no file of kubelet names a runtime: look at its flags, systemctl cat kubelet"
      : `  kubelet   ${kubelet.endpoint}, from ${kubelet.file}`,
  ];
  if ("problem" in running) {
    lines.push(`  runtime   ${socket} does not answer: ${running.problem}`);
  } else {
    lines.push(
      `  runtime   ${running.runtime} at ${socket}: ${counted(running.pods.length, "pod")}, ${counted(running.containers, "running container")}`,
      ...foundPods(running.pods),
      `  images    ${running.images}, ${formatBytes(running.imageBytes)} as the runtime counts them; unpacked up to three times that`,
    );
    const needed = running.imageBytes * 3n;
    if (freeBytes !== undefined && freeBytes < needed) {
      lines.push(`  disk      ${root} has ${formatBytes(freeBytes)} free, which may not suffice`);
    }
  }
  if (freeBytes !== undefined) lines.push(`  free      ${formatBytes(freeBytes)} for ${root}`);
  lines.push(...foundNetwork(cni));
  return lines;
}

/** davit cannot take over pods. A node has at most some hundred; the first ones show what they are. */
function foundPods(pods: readonly string[]): readonly string[] {
  if (pods.length === 0) return [];
  const more = pods.length > maxPods ? ` and ${pods.length - maxPods} more` : "";
  const names = pods.slice(0, maxPods).join(", ");
  return [`  pods      ${names}${more}: they cannot be moved, and end in steps 2 and 3`];
}

function foundNetwork({ theirs, ours, file, hasPortmap }: NodeFacts["cni"]): readonly string[] {
  const shared =
    theirs === ours
      ? `${theirs} is used by both: the network stays as it is`
      : `${theirs} now, and ${ours} with davit: set cni.conf_dir to ${theirs}`;
  const name = file === undefined ? "no configuration is there yet" : `the first is ${file}`;
  const ports = hasPortmap
    ? ["  ports     portmap removes the rules of host ports with the pods, in step 3"]
    : [];
  return [`  network   ${shared}; ${name}`, ...ports];
}

function steps(facts: NodeFacts): readonly (readonly string[])[] {
  const { from, nodeName, socket, davitSocket } = facts;
  const unit = from === "crio" ? "crio" : "containerd";
  return [
    [
      "1. Configure davit like this node, and look at what has no counterpart",
      `  davit config import ${from} -o /etc/davit/davit.toml`,
      "  davit config check && davit doctor",
    ],
    [
      "2. Drain the node (where kubectl is)",
      `  kubectl drain ${nodeName} --ignore-daemonsets --delete-emptydir-data`,
    ],
    [
      "3. Stop kubelet, and remove the pods that are left (DaemonSets, static pods)",
      "  systemctl stop kubelet",
      `  crictl -r unix://${socket} pods -q | xargs -r crictl -r unix://${socket} rmp -f`,
    ],
    [
      "4. Start davit, and take over the images while the old runtime still runs",
      "  systemctl enable --now davit",
      ...takeOver(from, socket),
    ],
    ["5. Stop the old runtime", `  systemctl disable --now ${unit}`],
    [
      "6. Point kubelet and crictl to davit",
      ...pointTo(facts, `unix://${davitSocket}`),
      `  printf 'runtime-endpoint: unix://%s\\n' ${davitSocket} >/etc/crictl.yaml`,
    ],
    [
      "7. Start kubelet, and let pods come back",
      "  systemctl restart davit       # it can now serve containerd's socket for cAdvisor",
      "  systemctl start kubelet",
      `  kubectl uncordon ${nodeName}`,
      `  kubectl get node ${nodeName} -o jsonpath='{.status.nodeInfo.containerRuntimeVersion}'`,
    ],
  ];
}

function takeOver(from: NodeFacts["from"], socket: string): readonly string[] {
  if (from === "containerd") return [`  davit migrate images --address ${socket}`];
  return [
    "  # CRI-O keeps no blobs: skopeo packs the layers again, and the image gets another digest",
    "  skopeo copy containers-storage:IMAGE oci-archive:image.tar:IMAGE && davit load image.tar",
    "  # or pull again, which keeps the digest",
    `  crictl -r unix://${socket} images -o json | jq -r '.images[].repoTags[]' | xargs -n 1 davit pull`,
  ];
}

function pointTo({ kubelet }: NodeFacts, endpoint: string): readonly string[] {
  if (kubelet === undefined) {
    return [`  # set containerRuntimeEndpoint: ${endpoint} in /var/lib/kubelet/config.yaml`];
  }
  const { file, isFlag } = kubelet;
  const edit = isFlag
    ? `s|--container-runtime-endpoint[= ][^ "]*|--container-runtime-endpoint=${endpoint}|`
    : `s|^containerRuntimeEndpoint:.*|containerRuntimeEndpoint: ${endpoint}|`;
  return [`  sed -i '${edit}' ${file}`];
}

function backSteps(facts: NodeFacts): readonly (readonly string[])[] {
  const { from, nodeName, socket, davitSocket } = facts;
  const unit = from === "crio" ? "crio" : "containerd";
  const images =
    from === "crio"
      ? "  skopeo copy oci-archive:images.tar containers-storage:IMAGE"
      : `  ctr -a ${socket} -n k8s.io images import images.tar`;
  return [
    [
      "And back",
      `  kubectl drain ${nodeName} --ignore-daemonsets --delete-emptydir-data`,
      "  systemctl stop kubelet",
      `  crictl -r unix://${davitSocket} pods -q | xargs -r crictl -r unix://${davitSocket} rmp -f`,
      "  # the old runtime still has its own images; those that were pulled since go back as an archive",
      "  davit save -o images.tar IMAGE...",
      "  systemctl disable --now davit        # it may serve containerd's socket for cAdvisor",
      `  systemctl enable --now ${unit}`,
      images,
      // Not the socket of kubelet's files: after the move that is davit's.
      ...pointTo(facts, `unix://${socket}`),
      `  printf 'runtime-endpoint: unix://%s\\n' ${socket} >/etc/crictl.yaml`,
      "  systemctl start kubelet",
      `  kubectl uncordon ${nodeName}`,
    ],
  ];
}
