// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/at_stake.h"

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "broker/session_journal.h"
#include "broker/session_manifest.h"
#include "tests/e2e/support/files.h"

namespace airstore::fault {

AtStake ReadAtStake(const std::string& state_dir) {
  namespace fs = std::filesystem;
  AtStake sum;
  const std::string spools = state_dir + "/spool";
  if (!e2e::Exists(spools)) return sum;
  for (const std::string& name : e2e::NamesIn(spools)) {
    const std::string spool = spools + "/" + name;
    auto manifest = broker::ReadManifest(spool);
    if (!manifest) continue;  // not a session, or one that has only begun
    const std::string copy = state_dir + "/journal-copy";
    fs::remove_all(copy);
    fs::copy(broker::JournalDirectory(spool), copy, fs::copy_options::recursive);
    broker::JournalState state;
    auto journal = broker::SessionJournal::Open(copy, {.session = manifest->session}, &state);
    if (!journal) throw std::runtime_error(spool + ": " + journal.error().ToString());
    fs::remove_all(copy);
    sum.changes += state.pending.size();
    for (const auto& [inode, entry] : state.contents.entries()) {
      sum.files += entry.dirty && !entry.orphan ? 1 : 0;
    }
  }
  return sum;
}

}  // namespace airstore::fault
