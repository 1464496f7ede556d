// SPDX-License-Identifier: Apache-2.0
//
// Every call that takes a path, on every kind of file of a read-only mount.
#include <sys/mount.h>

#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

class ReadOnly : public e2e::MountTest {};

TEST_F(ReadOnly, EveryCallOnEveryKind) {
  const std::string local = host().Path("local");
  const std::string local_view = host().Path("local-view");
  ASSERT_EQ(mkdir(local.c_str(), 0755) + mkdir(local_view.c_str(), 0755), 0);
  for (const std::string& root : {mount(), local}) {
    ASSERT_EQ(chdir(root.c_str()), 0);
    MakeFile("source");
    for (const Kind& kind : Kinds()) kind.make(kind.name, 0666);
  }
  const std::string view = host().Mount("work", "view", {"--read-only"});
  ASSERT_EQ(::mount(local.c_str(), local_view.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(
      ::mount(nullptr, local_view.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), 0);
  std::set<int> reached;
  size_t cases = 0;
  for (const Caller& caller : AllCallers()) {
    for (const PathCall& call : PathCalls()) {
      for (const Kind& kind : Kinds()) {
        const auto run = [&](const std::string& root) {
          EXPECT_EQ(chdir(root.c_str()), 0);
          const ActingAs acting(caller);
          return call.run(kind.name.c_str());
        };
        const Outcome expected = run(local_view);
        const Outcome found = run(view);
        EXPECT_EQ(NameOf(found.error), NameOf(expected.error))
            << call.name << ", " << kind.name << " as " << caller.name;
        reached.insert(expected.error);
        ++cases;
      }
    }
  }
  ASSERT_EQ(chdir("/"), 0);
  ASSERT_EQ(umount2(local_view.c_str(), MNT_DETACH), 0);
  for (const int error : {EROFS, EEXIST, ENOENT, EISDIR}) {
    EXPECT_TRUE(reached.contains(error)) << NameOf(error) << " was never expected";
  }
  EXPECT_GT(cases, 1000u);
}

}  // namespace
}  // namespace airstore::posix
