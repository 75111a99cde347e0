// The microphone as 16-bit samples, and a recording of it as a WAV file.
"use strict";

const REASONS = {
  NotAllowedError: "The microphone may not be used: allow it in the browser, or choose a file.",
  NotFoundError: "There is no microphone here: plug one in, or choose a file.",
  NotReadableError: "The microphone cannot be read: another program may have it.",
};

// At 16 kHz where the browser resamples, else at the microphone's own rate.
async function openContext(stream) {
  for (const options of [{ sampleRate: 16000 }, {}]) {
    const context = new AudioContext(options);
    try {
      return [context, context.createMediaStreamSource(stream)];
    } catch {
      await context.close();
    }
  }
  throw new Error("This browser cannot record: choose a file.");
}

export class Microphone {
  // onSamples: is given Int16Array, as they come.
  static async open(onSamples) {
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
      throw new Error("Browsers give a page the microphone over https or on localhost only: choose a file.");
    }
    let stream;
    try {
      // What a browser does to make speech pleasant would be a trace of its own.
      const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new Error(REASONS[error.name] ?? `The microphone cannot be opened (${error.name}).`);
    }
    const [context, source] = await openContext(stream);
    await context.audioWorklet.addModule("static/worklet.js");
    return new Microphone(stream, context, source, onSamples);
  }

  constructor(stream, context, source, onSamples) {
    this.stream = stream;
    this.context = context;
    this.rate = context.sampleRate;
    this.pieces = [];
    this.count = 0;
    const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => {
      const samples = Int16Array.from(data, (x) => Math.max(-32768, Math.min(32767, Math.round(32768 * x))));
      this.pieces.push(samples);
      this.count += samples.length;
      onSamples(samples);
    };
    source.connect(tap);
  }

  get seconds() {
    return this.count / this.rate;
  }

  close() {
    for (const track of this.stream.getTracks()) track.stop();
    this.context.close();
  }

  wav() {
    const header = new DataView(new ArrayBuffer(44)), bytes = 2 * this.count;
    const text = (at, word) => [...word].forEach((c, i) => header.setUint8(at + i, c.charCodeAt(0)));
    text(0, "RIFF");
    header.setUint32(4, 36 + bytes, true);
    text(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true);
    header.setUint16(22, 1, true);
    header.setUint32(24, this.rate, true);
    header.setUint32(28, 2 * this.rate, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    text(36, "data");
    header.setUint32(40, bytes, true);
    return new Blob([header, ...this.pieces], { type: "audio/wav" });
  }
}
