// The page of the service: a file or a recording goes to POST /detect, and what is shown is what that answers.
"use strict";

import { Microphone } from "./microphone.js";

const $ = (id) => document.getElementById(id);
const WORDS = {
  bonafide: "sounds like a person speaking",
  spoof: "sounds like synthetic or converted speech",
  undecided: "there is a score, and nothing to read it by",
};
const SHOWN_ANSWERS = 60;
let limits = null, request = null, recording = null, page = null;

// Errors and progress

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

function say(message) {
  $("status").textContent = message;
}

class Refused extends Error {}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The service cannot be reached: it may have stopped, or the connection was cut.");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) {
    askForToken();
    throw new Refused(token ? "Wrong token." : "An access token is needed.");
  }
  const { error } = await answer.json().catch(() => ({}));
  const seconds = answer.headers.get("Retry-After");
  const when = seconds ? ` (in about ${seconds} s)` : "";
  throw new Refused((error ?? `The service answered with status ${answer.status}`) + when);
}

// The model, and the token

async function showModel() {
  try {
    const model = await (await ask("model")).json();
    limits = model.limits;
    const size = `${+(limits.max_bytes / 2 ** 20).toFixed(1)} MiB`;
    $("limits").textContent = `Any sound or video file, up to ${size} and ${spoken(limits.max_seconds)}.`;
    const calibrated = model.calibration ? "calibrated" : "not calibrated: it gives scores, no probabilities";
    $("model").textContent =
      `Detector: ${model.name}, ${calibrated}. SHA-256 of its weights: ${model.sha256.slice(0, 12)} … · asvtk `
      + `${model.version} · Nothing that is sent here is kept.`;
    $("access").hidden = true;
    fail("");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if ($("access").hidden || sessionStorage.getItem("token")) fail(error.message);
  }
}

function spoken(seconds) {
  const [size, name] = seconds >= 3600 ? [3600, "hour"] : seconds >= 60 ? [60, "minute"] : [1, "second"];
  const count = +(seconds / size).toFixed(1);
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}

function askForToken() {
  $("access").hidden = false;
  $("token").focus();
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  $("token").value = "";
  showModel();
});

// A recording is judged

function settings() {
  const prior = Number($("prior").value) / 100;
  if (!(prior > 0 && prior < 1)) throw new Refused("How common spoofs are: expected a number above 0 and below 100.");
  return `?prior=${prior}`;
}

function setBusy(words) {
  $("busy").hidden = !words;
  $("busy-words").textContent = words;
  $("file").disabled = $("record").disabled = Boolean(words);
  if (words) say(words);
}

async function judge(blob, name) {
  fail("");
  $("result").hidden = true;
  try {
    if (limits && blob.size > limits.max_bytes) {
      throw new Refused(`${name}: has more than ${+(limits.max_bytes / 2 ** 20).toFixed(1)} MiB, which is the limit.`);
    }
    if (!blob.size) throw new Refused(`${name}: the file is empty.`);
    const query = settings(), form = new FormData();
    form.append("file", blob, name);
    request = new AbortController();
    setBusy(`Judging ${name} …`);
    const headers = { Accept: "text/html" };
    const answer = await ask(`detect${query}`, { method: "POST", body: form, headers, signal: request.signal });
    show(await answer.text(), name);
  } catch (error) {
    if (error.name === "AbortError") say("Cancelled.");
    else if (error instanceof Refused) fail(error.message);
    else throw error;
  } finally {
    setBusy("");
  }
}

// The answer is a page of its own: its parts are shown here, and all of it can be saved.
function show(html, name) {
  const main = html.slice(html.indexOf("<main>"), html.lastIndexOf("</main>"));
  const answer = new DOMParser().parseFromString(main, "text/html");
  const parts = answer.querySelectorAll("main > .recording, main > section");
  $("result-body").replaceChildren(...parts);
  $("result-name").textContent = name;
  document.querySelectorAll("#result-body .recording").forEach(window.connect);
  if (page) URL.revokeObjectURL(page);
  page = URL.createObjectURL(new Blob([html], { type: "text/html" }));
  $("save").href = page;
  $("save").download = `${name}.html`;
  $("result").hidden = false;
  $("result-name").focus();
  say(`${name}: ${$("result-body").querySelector(".headline")?.textContent ?? "judged"}`);
}

$("cancel").addEventListener("click", () => request?.abort());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  $("file").value = "";  // the same one may be chosen again
  if (file) judge(file, file.name);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (!file) fail("That is no file: drop a recording.");
  else if (!$("file").disabled && !recording) judge(file, file.name);
});

// The microphone: what is heard goes to the stream for answers while it is spoken, and in the end to be judged

class Live {
  constructor() {
    const url = new URL("stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = settings();
    this.last = "";
    this.socket = new WebSocket(url);
    this.socket.onopen = () => {
      const token = sessionStorage.getItem("token");
      if (token) this.socket.send(JSON.stringify({ token }));
    };
    this.socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
  }

  push(samples) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(samples);
  }

  hear(answer) {
    if (answer.error) {
      $("answer").textContent = `No answers meanwhile: ${answer.error}. The recording can still be judged.`;
      return;
    }
    if (!answer.verdict || answer.t === undefined) return;
    // A screen reader is told when something changes, not each second.
    if (answer.verdict !== this.last) $("answer").textContent = `So far: ${WORDS[answer.verdict]}.`;
    this.last = answer.verdict;
    const item = document.createElement("li"), dot = document.createElement("i");
    dot.className = `dot is-${answer.verdict}`;
    const value = answer.llr === undefined ? `score ${answer.score.toFixed(2)}` : `LLR ${answer.llr.toFixed(2)}`;
    item.title = `${answer.t.toFixed(0)} s: ${value.replace("-", "−")}`;
    item.append(dot);
    $("answers").append(item);
    if ($("answers").children.length > SHOWN_ANSWERS) $("answers").firstChild.remove();
  }

  close() {
    this.socket.close();
  }
}

const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

async function record() {
  fail("");
  $("record").disabled = true;
  try {
    const microphone = await Microphone.open((samples) => hear(samples));
    recording = { microphone, live: microphone.rate === 16000 ? new Live() : null };
    $("answer").textContent = recording.live
      ? "Speak for a few seconds: the first answer comes after two seconds of speech."
      : "This browser cannot send sound while it records: the answer comes at the end.";
    $("answers").replaceChildren();
    $("drop").hidden = true;
    $("live").hidden = false;
    $("stop").focus();
  } catch (error) {
    fail(error.message);
  } finally {
    $("record").disabled = false;
  }
}

function hear(samples) {
  if (!recording) return;
  const { microphone, live } = recording;
  live?.push(samples);
  $("elapsed").textContent = minutes(microphone.seconds);
  const loudest = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 1) / 32768;
  $("level").style.width = `${Math.max(0, 100 + (100 / 60) * 20 * Math.log10(loudest))}%`;
  const room = limits ? Math.min(limits.max_seconds, limits.max_bytes / (2 * microphone.rate)) : 600;
  if (microphone.seconds > room - 1) stop(true);
}

function stop(keep) {
  if (!recording) return;
  const { microphone, live } = recording;
  recording = null;
  microphone.close();
  live?.close();
  $("live").hidden = true;
  $("drop").hidden = false;
  $("record").focus();
  if (keep && microphone.count) judge(microphone.wav(), "recording.wav");
  else if (keep) fail("The microphone gave no sound.");
}

$("record").addEventListener("click", record);
$("stop").addEventListener("click", () => stop(true));
$("discard").addEventListener("click", () => stop(false));

showModel();
