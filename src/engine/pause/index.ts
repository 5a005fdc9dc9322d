// The verbs pause and resume, for containers and for pods. They use only the interfaces of core. Start reading with
// pause.ts; engine/container/paused.ts has what the verbs of containers know of it.
export { pause } from "./pause.ts";
export { resume } from "./resume.ts";
