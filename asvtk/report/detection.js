// Player, waveform and timeline of each recording move together. Without scripts the page still says everything.
"use strict";

function clock(seconds) {
  const whole = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function connect(recording) {
  const tracks = recording.querySelector(".tracks");
  if (!tracks) return;
  const audio = recording.querySelector("audio");
  const head = tracks.querySelector(".playhead");
  const readout = recording.querySelector(".readout");
  const duration = Number(tracks.dataset.duration), hop = Number(tracks.dataset.hop);
  const values = tracks.dataset.values ? tracks.dataset.values.split(",") : [];

  // "4:31 · LLR −3.20": the time, and what the timeline says there
  function tell(seconds) {
    const value = values[Math.min(values.length - 1, Math.floor(seconds / hop))];
    const said = value === undefined ? "" : value === "" ? " · no speech"
      : ` · ${tracks.dataset.kind} ${value.replace("-", "−")}`;
    readout.textContent = clock(seconds) + said;
  }

  function secondsAt(event) {
    const box = tracks.getBoundingClientRect();
    return duration * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }

  tracks.addEventListener("pointermove", (event) => tell(secondsAt(event)));
  tracks.addEventListener("pointerleave", () => {
    if (audio && audio.currentTime) tell(audio.currentTime); else readout.textContent = "";
  });
  if (!audio) return;

  function show() {
    head.hidden = false;
    head.style.left = `${100 * Math.min(1, audio.currentTime / duration)}%`;
    tell(audio.currentTime);
  }
  function follow() {
    show();
    if (!audio.paused && !audio.ended) requestAnimationFrame(follow);
  }

  tracks.addEventListener("click", (event) => { audio.currentTime = secondsAt(event); });
  for (const button of recording.querySelectorAll("button.seek")) {
    button.addEventListener("click", () => {
      audio.currentTime = Number(button.dataset.seconds);
      audio.play().catch(() => {});  // the browser may want another click first
    });
  }
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    follow();
  });
  audio.addEventListener("seeked", show);
  audio.addEventListener("timeupdate", show);
  audio.addEventListener("error", () => { recording.querySelector(".unplayable").hidden = false; });
}

document.querySelectorAll(".recording").forEach(connect);
