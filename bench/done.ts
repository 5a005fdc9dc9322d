/** What was done in davit for each row, for RESULTS.md: by the beginning of the row's title. */
const done: readonly (readonly [title: string, text: string])[] = [
  [
    "RunPodSandbox with one host port",
    "as RunPodSandbox; portmap's iptables are most of it, and nobody's to shorten",
  ],
  [
    "RunPodSandbox",
    "no pause process; namespaces and `lo` by one native call; files are written while the plugins run; records wait for no disk; plugins are started by vfork, not by fork",
  ],
  [
    "StopPodSandbox",
    "no process to end; what is left is CNI DEL, whose iptables calls are the plugins'",
  ],
  ["RemovePodSandbox", "everything was given back at the stop: a record and a directory"],
  ["Version after a rest", "nothing: it shows what every call costs before davit does anything"],
  [
    "CreateContainer + StartContainer",
    "one overlay mount by the new mount API; conmon without a sync of its log and without a shell before it; crun from a sealed copy, so that it makes none of itself; the kernel's wait for the first move into a cgroup of v1 begins with the call and passes while the OCI runtime is being loaded; it is kept from beginning again on a busy machine",
  ],
  ["the three together: p99", "no disk to wait for, and nothing that is done for all pods at once"],
  ["the three together", "all of the above"],
  [
    "ExecSync",
    "`crun exec` by itself with pipes, no conmon, no mounts looked at; a spec of the process alone; crun from a sealed copy; the same wait of the kernel begun with the call",
  ],
  [
    "StopContainer",
    "kill and wait by pidfd and by the cgroup, without an OCI runtime's `kill` and `state`; its `delete` runs behind the answer",
  ],
  ["RemoveContainer", "the OCI runtime's state is deleted at the exit already"],
  [
    "ListContainerStats",
    "cgroup files that stay open, those of 32 containers read by one native call; a sample serves everybody for 1 s, with its own time; encoded once",
  ],
  [
    "Exec(true) over",
    "as ExecSync: `crun exec` by itself, its pipes read by the daemon, no shim and no fifos between",
  ],
  [
    "Exec: output over",
    "one copy of the pipe less than by a shim; 64 KiB frames written as a vector, back-pressure and no queue",
  ],
  ["Exec: input over", "as its output"],
  ["Attach", "conmon's socket, opened by the addon"],
  ["one more connection of a PortForward", "as PortForward"],
  [
    "PortForward",
    "the socket is made in the pod's namespace by one native call, without a process; each direction ends for itself",
  ],
  ["pods by conmon: memory", "conmon (C) for a container, no process for a pod"],
  ["pods by conmon", "as above: the same calls as in the rows without a handler"],
  [
    "pods by the runc v2 shim: StopContainer",
    "the task's kill and exit event; its deletion runs behind the answer",
  ],
  [
    "pods by the runc v2 shim: memory",
    "no pause process and no container of it; the shim itself is Debian's",
  ],
  [
    "pods by the runc v2 shim",
    "no pause process, and so no task of it; the shim is started for the first container",
  ],
  ["8 pods at once", "CNI calls side by side, at most 8; no process but conmon and crun for a pod"],
  ["8 sandboxes at once", "as RunPodSandbox"],
  ["50 sandboxes at once", "CNI calls bounded, so that the machine is not flooded with plugins"],
  [
    "Version during",
    "kernel work and the start of children on threads of the pool; calls that come at once begin 2 ms a turn; the loop's thread is first in the queue for a CPU",
  ],
  [
    "event-loop delay p99 in that pull",
    "decompression and files in an unpacker process; the daemon hands bytes on",
  ],
  ["event-loop delay", "as above; records without a sync"],
  [
    "PodSandboxStatus",
    "encoded once for each value of a sandbox; no timer and no signal where memory has the answer; a call that is over leaves nothing that minor collections copy",
  ],
  ["ListPodSandbox", "encoded once for each value of a sandbox; a list is their concatenation"],
  [
    "memory with",
    "no process for a pod, conmon (C) for a container; after the start the memory that only the start needed is given back: garbage, and pages of Node.js's own code, some 30 MB that stay in the page cache and are mapped again where they are called",
  ],
  ["memory a sandbox", "no process for a pod"],
  [
    "start of the server",
    "one bundle, and kept beside it what the last start compiled as it ran; the socket is served before the daemon's parts are loaded and put together, other calls than Version wait for that",
  ],
  [
    "restart",
    "records read at once, the kernel asked for many pods side by side, sweeps after that",
  ],
  [
    "PullImage",
    "layers side by side, digests and decompression in one pass, no blob written to disk; an unpacker that starts in 35 ms of processor time and keeps no chunk; the daemon frees what it has handed on, without a collection",
  ],
  [
    "the daemon's memory",
    "big buffers live in the unpacker; what stats keep of a container goes with it; when much work is over, free memory of malloc and pages of Node.js's own code are given back, in 3 ms and without a collection",
  ],
  [
    "churn: memory",
    "found by the churn: stats of containers that are gone were kept for 5 minutes, each with a slab of 64 KiB",
  ],
  ["churn: heap", "as above: what is kept of an object goes with the object"],
  ["churn: descriptors", "nothing: none was lost"],
  ["churn: nothing left", "a held create goes with its pod; the janitor begins at once"],
  ["churn: p99", "nothing: no list or lock grows with the pods that there have been"],
];

/** One line a row: its title and what was done for it. */
export function whatWasDone(titles: readonly string[]): string {
  return titles
    .map((title) => {
      const text = done.find(([beginning]) => title.startsWith(beginning))?.[1];
      return `- ${title}: ${text ?? "nothing of its own"}.`;
    })
    .join("\n");
}
