import type { Command } from "./command.ts";

/**
 * Commands of docker, podman, nerdctl, crictl and kubectl that do in davit what they do there: the words
 * on the left are read as those on the right. A command that would do more, less or something else is a
 * hint of `other-tools.ts` instead.
 */
export const aliases: Readonly<Record<string, string>> = {
  ls: "ps",
  "container ls": "ps",
  "container list": "ps",
  "container ps": "ps",
  "container run": "run",
  "container start": "start",
  "container restart": "restart",
  "container stop": "stop",
  "container kill": "kill",
  unpause: "resume",
  "container pause": "pause",
  "container unpause": "resume",
  "container rm": "rm",
  "container exec": "exec",
  "container attach": "attach",
  "container logs": "logs",
  "container cp": "cp",
  "container inspect": "inspect --type container",
  "container port": "port",
  "container stats": "stats",
  "container top": "top",
  "container update": "update",
  "container wait": "wait",
  "snapshots ls": "snapshots",
  "snapshots list": "snapshots",
  "image ls": "images",
  "image list": "images",
  "image pull": "pull",
  "image rm": "rmi",
  "image inspect": "inspect --type image",
  "image history": "history",
  "image load": "load",
  "image save": "save",
  "image import": "import",
  "image tag": "tag",
  "pod ls": "pods",
  "pod list": "pods",
  "pod ps": "pods",
  "pod start": "start --type pod",
  "pod restart": "restart --type pod",
  "pod stop": "stop --type pod",
  "pod kill": "kill --type pod",
  "pod pause": "pause --type pod",
  "pod unpause": "resume --type pod",
  "task pause": "pause",
  "task resume": "resume",
  "pod rm": "rm --type pod",
  "pod inspect": "inspect --type pod",
  "pod logs": "logs",
  "pod stats": "stats",
  "pod top": "top",
  "system info": "info",
  "system events": "events",
  "kube play": "run",
  "kube down": "down",
  "play kube": "run",
  "get pods": "pods",
  "get pod": "pods",
  "get po": "pods",
  "get images": "images",
  "get events": "events",
  "apply -f": "run -f",
  "create -f": "run -f",
  "delete -f": "down -f",
  "delete pod": "rm -f --type pod",
  "delete pods": "rm -f --type pod",
  "delete po": "rm -f --type pod",
  "describe pod": "describe --type pod",
  "describe pods": "describe --type pod",
  "describe po": "describe --type pod",
  stopp: "stop --type pod",
  rmp: "rm --type pod",
  inspectp: "inspect --type pod",
  inspecti: "inspect --type image",
  statsp: "stats",
  "config dump": "config show",
};

/** The words with an alias at their beginning replaced; the same words if they do not begin with one. */
export function expandAlias(words: readonly string[]): readonly string[] {
  for (const count of [2, 1]) {
    const name = words.slice(0, count).join(" ");
    const meant = Object.hasOwn(aliases, name) ? aliases[name] : undefined;
    if (meant !== undefined) return [...meant.split(" "), ...words.slice(count)];
  }
  return words;
}

/** The aliases of a command, in the order of the table: "container ls", or "delete pod" for rm. */
export function aliasesOf({ name }: Command): readonly string[] {
  return Object.entries(aliases)
    .filter(([, meant]) => meant === name || meant.startsWith(`${name} -`))
    .map(([alias]) => alias);
}

/** The second words of the aliases that begin with this word, without options. */
export function aliasWordsAfter(first: string): readonly string[] {
  return Object.keys(aliases)
    .filter((alias) => alias.startsWith(`${first} `) && !alias.includes(" -"))
    .map((alias) => alias.slice(first.length + 1));
}
