/** What was done in davit for each row, for RESULTS.md: by the beginning of the row's title. */
const done: readonly (readonly [title: string, text: string])[] = [
  ["CNI plugins", "as without them; plugins are started by vfork instead of fork"],
  [
    "RunPodSandbox with one host port",
    "as RunPodSandbox; the rules of portmap without a process of it",
  ],
  [
    "RunPodSandbox",
    "no pause process; one native call for the namespaces and `lo`; the network by netlink, without processes of plugins; files are written meanwhile; records wait for no disk",
  ],
  [
    "StopPodSandbox",
    "no process to end; the network is removed by netlink, and the answer does not wait until the kernel has freed the link",
  ],
  [
    "RemovePodSandbox",
    "the stop has released everything else: only a record and a directory are left",
  ],
  ["Version after a rest", "nothing: it shows what every call costs before davit does anything"],
  [
    "CreateContainer + StartContainer",
    "one overlay mount with the new mount API; a monitor of 22 KB without a C library; crun and the monitor from sealed copies, so that crun does not copy itself; the kernel's wait for the first move into a cgroup of v1 begins with the call and passes while the OCI runtime is being loaded; on a busy machine davit prevents a second wait",
  ],
  ["the three together: p99", "no wait for a disk, and no work that is done for all pods at once"],
  ["the three together", "all of the above"],
  [
    "ExecSync",
    "a program of 17 KB does the steps of `crun exec` with what davit knows already, and its pipes are the daemon's; the same kernel wait begins with the call",
  ],
  [
    "StopContainer",
    "kill and wait through pidfd and cgroup, without an OCI runtime's `kill` and `state`; its `delete` runs after the answer",
  ],
  ["RemoveContainer", "the OCI runtime's state is already deleted at the exit"],
  [
    "ListContainerStats",
    "cgroup files stay open, and one native call reads those of 32 containers; all callers share a sample for 1 s, with its own time; encoded once",
  ],
  [
    "Exec(true) over",
    "as ExecSync: `crun exec` directly, the daemon reads its pipes, no shim and no FIFOs in between",
  ],
  [
    "Exec: output over",
    "one copy of the pipe less than with a shim; 64 KiB frames written as a vector, back-pressure and no queue",
  ],
  ["Exec: input over", "as its output"],
  ["Attach", "the monitor's socket, opened by the addon"],
  ["one more connection of a PortForward", "as PortForward"],
  [
    "PortForward",
    "one native call creates the socket in the pod's namespace, without a process; each direction ends separately",
  ],
  ["pods by the monitor: memory", "a monitor without heap for a container, no process for a pod"],
  ["pods by the monitor", "as above: the same calls as in the rows without a handler"],
  [
    "pods by the runc v2 shim: StopContainer",
    "the task's kill and exit event; its deletion runs after the answer",
  ],
  [
    "pods by the runc v2 shim: memory",
    "no pause process and no pause container; the shim itself is Debian's",
  ],
  [
    "pods by the runc v2 shim",
    "no pause process, and so no task for it; the shim is started for the first container",
  ],
  [
    "NRI plugin",
    "a message is made only if a plugin has subscribed to its event; nothing is started or opened for it",
  ],
  [
    "8 pods at once",
    "networks in parallel, at most 8; only monitor and crun as processes of a pod",
  ],
  ["8 sandboxes at once", "as RunPodSandbox"],
  [
    "50 sandboxes at once",
    "a bounded number of networks at once, so that they do not flood the machine",
  ],
  [
    "Version during",
    "kernel work and the start of children on threads of the pool; simultaneous calls are started for 2 ms in each turn; the loop's thread is first in the queue for a CPU",
  ],
  [
    "event-loop delay p99 of PullImage",
    "an unpacker process decompresses and writes files; the daemon forwards bytes",
  ],
  ["event-loop delay", "as above; records without a sync"],
  [
    "PodSandboxStatus",
    "encoded once for each value of a sandbox; no timer and no signal if the answer is in memory; a finished call leaves nothing that minor collections copy",
  ],
  ["ListPodSandbox", "encoded once for each value of a sandbox; a list is their concatenation"],
  [
    "memory with",
    "no process for a pod, a monitor without heap for a container; after the start davit releases the memory that only the start needed: garbage, and pages of Node.js's own code, about 30 MB that stay in the page cache and are mapped again when they are called",
  ],
  ["memory a sandbox", "no process for a pod"],
  ["memory a pod with a container", "a monitor without heap for a container, no process for a pod"],
  ["memory of the kernel", "no process and no cgroup for a pod besides its containers'"],
  ["memory of the daemon alone", "metrics, traces and events are loaded only where they are on"],
  ["500 pods", "as with fewer: no timer and no process that works for an idle pod"],
  [
    "start of the server",
    "one bundle, and beside it the code that the last start compiled; the socket is served before the daemon's parts are loaded and assembled, and calls other than Version wait for that",
  ],
  [
    "restart",
    "records are read together, the kernel is queried for many pods in parallel, orphans are removed afterwards",
  ],
  [
    "PullImage",
    "layers in parallel, digests and decompression in one pass on threads of their own, gzip by ISA-L, no blob written to disk; an unpacker is used for several layers and keeps no chunk; layers that are complete share a sync and do not delay the next download; the daemon frees what it has forwarded",
  ],
  ["CPU of PullImage", "as above"],
  ["peak memory of PullImage", "two unpackers of up to 100 MB each, and one more for small layers"],
  [
    "the daemon's memory",
    "large buffers are in the unpacker; stats of a container are dropped with it; after much work davit releases free memory of malloc and pages of Node.js's own code, in 3 ms and without a collection",
  ],
  [
    "churn: memory",
    "the churn found that stats of removed containers were kept for 5 minutes, each with a slab of 64 KiB",
  ],
  ["churn: heap", "as above: data of an object is dropped with the object"],
  ["churn: descriptors", "nothing: no descriptor was lost"],
  [
    "churn: nothing left",
    "an unclaimed create is removed with its pod; the janitor starts immediately",
  ],
  ["churn: p99", "nothing: no list or lock grows with the number of past pods"],
];

/** One line a row: its title and what was done for it. */
export function whatWasDone(titles: readonly string[]): string {
  return titles
    .map((title) => {
      const text = done.find(([beginning]) => title.startsWith(beginning))?.[1];
      return `- ${title}: ${text ?? "nothing specific"}.`;
    })
    .join("\n");
}
