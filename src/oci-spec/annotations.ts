import type { SpecInput } from "./input.ts";

/**
 * The annotations of a spec: what the handler lets through of the request, and under containerd's
 * has the keys that tools and containerd's shims read (io.kubernetes.cri.*). Ours win, so that a
 * request cannot pass a container off as another pod's.
 */
export function specAnnotations(
  input: Pick<SpecInput, "sandbox" | "config" | "imageName" | "annotations" | "cgroupPath">,
): Readonly<Record<string, string>> {
  const pod = input.sandbox.config.metadata;
  return {
    ...input.annotations,
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.sandbox-id": input.sandbox.id,
    "io.kubernetes.cri.sandbox-name": pod?.name ?? "",
    "io.kubernetes.cri.sandbox-namespace": pod?.namespace ?? "",
    "io.kubernetes.cri.sandbox-uid": pod?.uid ?? "",
    "io.kubernetes.cri.container-name": input.config.metadata?.name ?? "",
    "io.kubernetes.cri.image-name": input.imageName,
    // crun: the scope itself is the container's cgroup, as with runc, and not one below it.
    // And crun and runc: no share of systemd's own limit of processes; kubelet limits the pod's.
    ...(input.cgroupPath.startsWith("/")
      ? {}
      : {
          "run.oci.systemd.subgroup": "",
          "org.systemd.property.TasksMax": "uint64 18446744073709551615",
        }),
  };
}
