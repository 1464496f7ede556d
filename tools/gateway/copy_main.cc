// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/copy_main.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "tools/gateway/clock.h"
#include "tools/gateway/copy/workspace_copy.h"
#include "tools/gateway/data_directory.h"
#include "tools/gateway/failed.h"

namespace airstore::gateway {
namespace {

// One side.
struct Place {
  std::string directory, metadata, blocks;
  UniqueFd lock;
};

void AddPlace(CLI::App& app, const std::string& side, const std::string& what, Place& place) {
  CLI::Option* directory =
      app.add_option("--" + side + "-data", place.directory,
                     "Data directory of the gateway " + what + ", which must not run meanwhile");
  CLI::Option* metadata =
      app.add_option("--" + side + "-metadata", place.metadata, "URL of the metadata " + what);
  CLI::Option* blocks =
      app.add_option("--" + side + "-blocks", place.blocks, "URL of the blocks " + what);
  metadata->needs(blocks);
  blocks->needs(metadata);
  directory->excludes(metadata);
}

Result<Stores> Open(Place& place) {
  if (place.directory.empty()) return OpenStores(place.metadata, place.blocks);
  auto lock = LockDataDirectory(place.directory);
  if (!lock) return lock.error();
  place.lock = std::move(*lock);
  return OpenStores(MetadataIn(place.directory), BlocksIn(place.directory));
}

// On a terminal one line that changes, else a line now and then.
class Progress {
 public:
  void operator()(const char* phase, uint64_t done, uint64_t total) {
    const bool terminal = isatty(STDERR_FILENO) == 1;
    const auto pause =
        terminal ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10'000);
    if (SteadyNow() - last_ < pause) return;
    last_ = SteadyNow();
    std::fprintf(stderr, "%s%s: %llu of %llu%s", terminal ? "\r\033[K" : "", phase,
                 static_cast<unsigned long long>(done), static_cast<unsigned long long>(total),
                 terminal ? "" : "\n");
    shown_ = terminal;
  }
  ~Progress() {
    if (shown_) std::fputs("\r\033[K", stderr);
  }

 private:
  SteadyTime last_ = SteadyNow();
  bool shown_ = false;
};

Result<CopyTotals> Copy(Place& from, Place& to, const std::string& workspace,
                        const std::string& as) {
  auto source = Open(from);
  if (!source) return source.error();
  auto target = Open(to);
  if (!target) return target.error();
  Progress progress;
  return CopyWorkspace(*source, *target, workspace, as, std::ref(progress));
}

}  // namespace

int CopyMain(int argc, char** argv) {
  CLI::App app(
      "airstore-gateway copy: copies a workspace from one store to another. Nobody may use it "
      "meanwhile. When it is broken off, the same command goes on.");
  Place from, to;
  std::string workspace, as;
  app.add_option("workspace", workspace, "Its name")->option_text("WORKSPACE")->required();
  AddPlace(app, "from", "it is copied from", from);
  AddPlace(app, "to", "it is copied to", to);
  app.add_option("--as", as, "Its name there (default: the same)")->option_text("NAME");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return Failed({EINVAL, std::string(error.what()) + ": see airstore-gateway copy --help"},
                  "copy: ");
  }
  for (const auto& [place, side] : {std::pair{&from, "from"}, std::pair{&to, "to"}}) {
    if (!place->directory.empty() || !place->metadata.empty()) continue;
    const std::string option = "--" + std::string(side);
    return Failed(
        {EINVAL, "needs " + option + "-data, or " + option + "-metadata and " + option + "-blocks"},
        "copy: ");
  }
  const auto done = Copy(from, to, workspace, as);
  if (!done) return Failed(done.error(), "copy: ");
  std::printf("copied and compared %llu files and directories, %llu blocks with %llu bytes",
              static_cast<unsigned long long>(done->inodes),
              static_cast<unsigned long long>(done->blocks),
              static_cast<unsigned long long>(done->bytes));
  if (done->there_already != 0) {
    std::printf("; %llu had been copied before",
                static_cast<unsigned long long>(done->there_already));
  }
  std::printf("\n");
  return 0;
}

}  // namespace airstore::gateway
