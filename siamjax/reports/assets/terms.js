// Words that a newcomer meets, in the words of docs/glossary.md.
const TERMS = {
  "capture": "One file of recorded packets (pcap, pcapng), or one table of counters.",
  "session":
    "One recording, as it stands in a prepared data set: one capture gives one session. " +
    "Captures, never single windows, are divided into training, validation and test.",
  "window": "Some bins in a row (32 bins: 16 s). The network sees one window at a time.",
  "condition":
    "The state of the network: normal, or one fault such as blocked. The classes of the " +
    "classifier.",
  "onset": "When a fault begins and ends.",
  "recovering":
    "The time after a fault until traffic is normal again. It is neither trained on nor " +
    "judged.",
  "known": "A condition that training has seen.",
  "novel": "A condition that training has not seen. It is recognised by examples alone.",
  "unknown": "The answer for a window that is too far from every example.",
  "made-up":
    "Windows of a batch that are all changed in one random way. They are one more class, so " +
    "the network learns to notice any change.",
  "head":
    "The last layer on the trunk, with its own loss. It turns the LSTM's output into a " +
    "point. A run has one or more heads.",
  "match": "The head for decisions: a point of 128 dimensions and length 1.",
  "decision":
    "What is compared when windows are: a head's point, statistics, or both. Each run " +
    "chooses its space on validation captures, after training.",
  "WCCN":
    "Statistics of a window, scaled so that windows of one condition spread alike in all " +
    "directions. A closed form, learnt from labelled training windows: the strongest simple " +
    "method.",
  "view": "The head to look at: three dimensions between 0 and 1, the points in the cube.",
  "fold": "A part of the captures. Each fold is once the test (or the validation).",
  "example": "A window whose condition is known. Other windows are compared with it.",
  "one-shot": "With one example of each condition.",
  "recall":
    "The share of a condition's windows that get the right name; in tables the mean over " +
    "conditions.",
  "draw": "Examples are drawn at random 100 times. Results are means over these draws.",
  "baseline":
    "A simple method on the same captures and examples, for instance the nearest neighbour " +
    "on mean and deviation.",
  "MAP@R":
    "How many of a window's nearest neighbours have its condition: of as many as there are " +
    "(R), or of the first.",
  "R-precision":
    "How many of a window's nearest neighbours have its condition: of as many as there are " +
    "(R), or of the first.",
  "P@1":
    "How many of a window's nearest neighbours have its condition: of as many as there are " +
    "(R), or of the first.",
  "AUROC": "How well a distance tells unknown conditions from known ones: 1 always, 0.5 by chance.",
  "in pairs": "Two methods are compared on the same captures and the same draws.",
};
