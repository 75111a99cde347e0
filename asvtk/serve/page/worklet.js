// Hands on what the microphone gives, 2048 samples at a time.
"use strict";

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.held = new Float32Array(2048);
    this.count = 0;
  }

  process([input]) {
    for (const sample of input[0] ?? []) {
      this.held[this.count++] = sample;
      if (this.count === this.held.length) {
        this.port.postMessage(this.held.slice());
        this.count = 0;
      }
    }
    return true;
  }
}

registerProcessor("tap", Tap);
