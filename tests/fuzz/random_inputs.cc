// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target on random inputs, the same ones each time: a regression test where there is no
// libFuzzer. Arguments: [number of inputs] [seed].
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  const uint64_t inputs = argc > 1 ? strtoull(argv[1], nullptr, 10) : 1000;
  const uint64_t seed = argc > 2 ? strtoull(argv[2], nullptr, 10) : 1;
  std::mt19937_64 random(seed);
  std::vector<uint8_t> input;
  for (uint64_t i = 0; i < inputs; ++i) {
    input.resize(random() % 2048);
    for (uint8_t& byte : input) {
      // Small numbers often: they are commands, indexes and lengths that make sense.
      const uint64_t value = random();
      byte = static_cast<uint8_t>(value % 3 == 0 ? value >> 8 : (value >> 8) % 12);
    }
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  printf("%llu inputs\n", static_cast<unsigned long long>(inputs));
  return 0;
}
