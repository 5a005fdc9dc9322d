/** Shell scripts of the contract's containers, by what they do. */
export const containerScripts = {
  sleeps: "sleep 1000",
  exits7: "exit 7",
  exits9Later: "sleep 0.3; exit 9",
  handlesTerm: "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done",
  counts: "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done",
  echoes: "while read line; do echo got $line; done; echo end",
} as const;

export type ContainerScript = keyof typeof containerScripts;
