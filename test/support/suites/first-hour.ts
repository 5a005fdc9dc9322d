/** The lines that a person from docker, podman, nerdctl, crictl or kubectl types in the first hour, and their ends. */

/** A line, and how it ends. */
export interface FirstHourLine {
  readonly line: string;
  /**
   * `works`: it does what was meant. `hint`: one line says what does the same. `fails`: the object does not exist,
   * or the line would do harm, and the message says so.
   */
  readonly end: "works" | "hint" | "fails";
  /** Its exit code; 0 for what works, and 2 for a hint. */
  readonly code?: number;
  /** In its output: stdout of what works, otherwise stderr. */
  readonly shows: RegExp;
  /**
   * The pod hello: running (the default), restarted, with its container ended, stopped as the only pod, or not
   * there, as all other pods.
   */
  readonly hello?: "runs" | "restarted" | "ended" | "stopped" | "absent";
  /** The line runs in a terminal, with these keys. */
  readonly keys?: string;
  /** Something that happens while it runs: hello's container is killed, or Ctrl-C. */
  readonly during?: "kill" | "interrupt";
}

const works = (line: string, shows = /^/, more: Partial<FirstHourLine> = {}): FirstHourLine => ({
  line,
  end: "works",
  shows,
  ...more,
});
const hint = (line: string, shows: RegExp, more: Partial<FirstHourLine> = {}): FirstHourLine => ({
  line,
  end: "hint",
  code: 2,
  shows,
  ...more,
});
const fails = (
  line: string,
  code: number,
  shows: RegExp,
  more: Partial<FirstHourLine> = {},
): FirstHourLine => ({ line, end: "fails", code, shows, ...more });

const id = /^[0-9a-f]{64}$/m;
const table = /^CONTAINER .*\n.*hello/m;
const pods = /^POD ID .*\n.*hello/m;
const made = /default +hello +10\./;

/** In the order in which they were typed. */
export const firstHour: readonly FirstHourLine[] = [
  works("davit run nginx"),
  works("davit run -d -p 8080:80 nginx", /\w/),
  works("davit run -it --rm alpine sh", /[#$]/, { keys: "exit\n" }),
  works("davit run --name web -e A=1 -v /tmp:/t nginx"),
  works("davit run -f examples/hello.yaml", made, { hello: "absent" }),
  hint("davit create nginx", /use "davit run"/),
  works("davit start hello", /hello/, { hello: "ended" }),
  works("davit restart hello", /hello/),
  works("davit kill hello", /hello/),
  works("davit pause hello", /hello/),
  works("davit ps -q", id),
  works("davit ps -l", table),
  works("davit ps --format json", /"name": "web"/),
  works("davit ps -a --filter status=exited", /hello.*exited|exited.*/, { hello: "ended" }),
  works("davit ps --no-trunc", /[0-9a-f]{64}/),
  works("davit container ls", table),
  works("davit ls", table),
  works("davit top hello", /PID.*COMMAND[\s\S]*httpd/),
  works("davit top", /hello/),
  works("davit events", /^/, { during: "interrupt", code: 130 }),
  fails("davit logs --tail 5 -f crash", 3, /container "crash": not found.*"davit ps -a"/),
  fails("davit logs -f --since 1m nope", 3, /container "nope": not found.*"davit ps -a"/),
  fails("davit attach nope", 3, /container "nope": not found.*"davit ps -a"/),
  works("davit exec hello/web ls /", /^bin$/m),
  works("davit exec hello -- ls /", /^bin$/m),
  works("davit exec -u 1000 hello id", /uid=1000/),
  works("davit exec -e A=1 hello env", /^A=1$/m),
  works("davit exec -w /tmp hello pwd", /^\/tmp$/m),
  works("davit exec -c web hello ls", /^bin$/m),
  hint("davit inspect hello --format {{.State}}", /use -o json and jq/),
  works("davit inspect hello -f json", /"status"/),
  hint("davit build -t x .", /buildah build .*"davit load app.tar"/),
  works("davit tag busybox:1.37 my/x", /^docker.io\/my\/x:latest$/m),
  hint("davit push my/x", /"davit save -o app.tar app".*skopeo copy/),
  hint("davit login docker.io", /"davit pull --creds - IMAGE"/),
  hint("davit logout", /"davit pull --creds"/),
  hint("davit search nginx", /"davit pull --explain IMAGE"/),
  works("davit save busybox", /manifest\.json/),
  works("davit load -i x.tar", /busybox/),
  fails("davit import x.tar", 2, /NAME is missing/),
  hint("davit export hello", /"davit cp POD:\/ - >FILE"/),
  hint("davit commit hello x", /"davit cp POD:PATH -"/),
  hint("davit diff hello", /"davit stats"/),
  works("davit history busybox:1.37", /^LAYER +CREATED/),
  works("davit image ls", /busybox +1\.37/),
  works("davit image inspect busybox:1.37", /"repoTags"/),
  works("davit image prune"),
  works("davit images -a", /busybox +1\.37/),
  works("davit images --digests", /DIGEST/),
  works("davit rmi -a", /busybox/, { hello: "absent" }),
  works("davit rmi --prune"),
  works("davit system prune"),
  works("davit system df", /^images +\d/m),
  hint("davit volume ls", /hostPath and emptyDir/),
  hint("davit volume create v", /hostPath and emptyDir/),
  hint("davit network ls", /CNI configurations in \/etc\/cni\/net\.d/),
  hint("davit network create n", /CNI configurations in \/etc\/cni\/net\.d/),
  works("davit port hello", /^10\.[\d.]+\n8080\/tcp -> 0\.0\.0\.0:8077$/m),
  hint("davit rename hello h", /"davit run --replace FILE"/),
  works("davit wait hello", /^137 default\/hello\/web$/m, { during: "kill" }),
  works("davit update --memory 100m hello", /hello/),
  works("davit stats --no-stream", /hello/),
  works("davit stats --all", /hello/),
  hint("davit compose up", /manifest with a Pod for each service/),
  works("davit kube play examples/hello.yaml", made, { hello: "absent" }),
  works("davit play kube examples/hello.yaml", made, { hello: "absent" }),
  hint("davit kube generate hello", /"davit inspect POD -o yaml"/),
  works("davit pod ls", pods),
  hint("davit pod create", /"davit run"/),
  works("davit apply -f examples/hello.yaml", made, { hello: "absent" }),
  works("davit get pods", pods),
  works("davit describe pod hello", /^Name: +hello[\s\S]*hello from hello[\s\S]*History/),
  works("davit delete pod hello", /hello/),
  hint("davit runp pod.json", /"davit run FILE"/),
  works("davit stopp hello", /hello/),
  works("davit rmp hello", /hello/, { hello: "stopped" }),
  works("davit inspectp hello", /"status"/),
  works("davit inspecti busybox:1.37", /"repoTags"/),
  works("davit imagefsinfo", /"imageFilesystems"/),
  works("davit statsp", /hello/),
  works("davit metricsp", /"podMetrics"/),
  works("davit runtime-config", /"cgroupDriver"/),
  fails("davit checkpoint hello", 2, /--output FILE is missing\nSee: davit help checkpoint/),
  works("davit version --short", /^davit [\w.-]+\nserver davit [\w.-]+$/m),
  works("davit -v", /^davit \d/),
  works("davit --version", /^davit \d/),
  works("davit info -f json", /"conditions"/),
  works("davit config dump", /^\[server\]$/m),
  hint("davit namespace ls", /no namespaces of containerd/),
  hint("davit -n k8s.io ps", /no namespaces of containerd.*"davit ps -n NAMESPACE"/),
  works("davit --debug ps", table),
  works("davit ui", /http:\/\//, { during: "interrupt" }),
  hint("davit dashboard", /"davit ui"/),
  hint("davit auto-update", /"davit run --replace FILE"/),
  hint("davit generate systemd hello", /davit.service .*"davit install"/),
  hint("davit healthcheck run hello", /"davit exec POD COMMAND"/),
  works("davit cp hello:/etc/passwd -", /passwd/),
  works("davit completion bash | head -1", /^# bash completion/),
  works("davit exec -it hello -c web -- sh -c true", /^/, { keys: "" }),
  works("davit logs hello -c web", /hello from hello/),
  works("davit logs -p hello", /hello from hello/, { hello: "restarted" }),
  works("davit logs --previous hello", /hello from hello/, { hello: "restarted" }),
  fails("davit logs -l app=web", 3, /pods with label app=web: not found; see "davit pods"/),
  works("davit logs hello web", /hello from hello/),
  works("davit port-forward pod/hello :8080 & sleep 1; kill %1", /127\.0\.0\.1:\d+/),
  works("davit pods -A", pods),
  works("davit ps -n default", table),
  works("davit rm -a", /hello/, { hello: "stopped" }),
  works("davit rm -af", /hello/),
  works("davit stop -a", /hello/),
  works("davit stop hello/web -t 0", /^hello\/web$/m),
  works("davit ps -aq", id),
  works("davit ps --last 1", table),
  works("davit images -q", /^sha256:[0-9a-f]{64}$/m),
  fails("davit rmi $(davit images -q | tail -1)", 1, /container "default\/hello\/web" uses it/),
  works("davit image pull alpine", /alpine/),
  hint("davit pull -a alpine", /one tag at a time/),
  fails("davit pull alpine:nope", 3, /alpine:nope/),
  hint("davit pull --platform linux/arm64 alpine", /platform of the node/),
  works("davit inspect alpine", /"repoTags"/),
  works("davit info | head -1", /^Server +davit/),
  fails('davit exec hello sh -c "exit 3"', 3, /^/),
  works("davit stats hello", /hello/),
  fails("davit attach hello", 1, /it is exited, not running/, { hello: "ended" }),
  works("davit help exec | head -1", /^Run a command/),
  works("davit exec --help | head -1", /^Run a command/),
  works("man davit", /davit/i),
  works("davit rm -f hello", /^hello$/m),
  works("davit ps", /^CONTAINER/),
];
