// SPDX-License-Identifier: Apache-2.0
//
// Clients work on while a broker hands over to another one, of whatever shared-memory ABI, or is
// restarted as a service is. What they were told is there afterwards.
#include <signal.h>

#include <filesystem>
#include <optional>

#include "tests/fault/bad_successor.h"
#include "tests/fault/service_store.h"
#include "tests/nfs/hard_client.h"

namespace airstore::nfs_test {
namespace {

class Upgrades : public ServedTest {
 protected:
  e2e::HostOptions Options() const override { return {.broker_arguments = {"--on-stop", "leave"}}; }
  void UpgradeTo(const std::string& program) {
    SCOPED_TRACE(program);
    e2e::Finished said;
    ASSERT_TRUE(host().UpgradeBroker(program, &said)) << said.All();
    EXPECT_EQ(said.code, 0) << said.All();
  }
};

TEST_F(Upgrades, ClientsGoOn) {
  const Handle root = Connect()->Mount(path());
  Handle file;
  ASSERT_EQ(Connect()->Make(root, "kept", 0644, &file), NFS3_OK);
  WRITE3resok written{};
  const std::string content = e2e::RandomBytes(1, 300'000);
  ASSERT_EQ(Connect()->Write(file, 0, content, UNSTABLE, &written), NFS3_OK);
  Crew crew(port(), path(), 2);
  const auto expect_kept = [&] {
    crew.AwaitProgress();
    std::string data;
    EXPECT_EQ(Connect()->Read(file, 0, 1u << 20, &data), NFS3_OK);
    EXPECT_TRUE(data == content);
  };
  const pid_t before = Frontend();
  for (const char* program : {"airstored-next", "airstored"}) {
    crew.AwaitProgress();
    UpgradeTo(e2e::Program(program));
    expect_kept();
    EXPECT_EQ(Frontend(), before);
  }
  host().StopBroker();
  host().StartBroker();
  expect_kept();
  EXPECT_EQ(Frontend(), before);
  // Of another layout, and back.
  for (const char* program : {"other-abi/airstored", "airstored"}) {
    crew.AwaitProgress();
    const pid_t last = Frontend();
    UpgradeTo(e2e::Program(program));
    expect_kept();
    EXPECT_NE(Frontend(), last);
  }
  COMMIT3resok committed{};
  EXPECT_EQ(Connect()->Commit(file, &committed), NFS3_OK);
  EXPECT_EQ(std::string(committed.verf, 8), std::string(written.verf, 8));
  crew.End();
  crew.ExpectAllIn(MountElsewhere());
}

// The old broker goes on, and clients notice no more than a pause.
TEST_F(Upgrades, OneThatDoesNotTakeOverIsNotNoticed) {
  Crew crew(port(), path(), 1);
  const pid_t before = Frontend();
  for (const std::string name : fault::kBadSuccessors) {
    SCOPED_TRACE(name);
    const std::string program = host().Path(name);
    std::filesystem::create_symlink(std::filesystem::read_symlink("/proc/self/exe"), program);
    e2e::Finished said;
    EXPECT_FALSE(host().UpgradeBroker(program, &said));
    EXPECT_NE(said.code, 0) << said.All();
    crew.AwaitProgress();
    EXPECT_EQ(Frontend(), before);
  }
  crew.End();
  crew.ExpectAllIn(MountElsewhere());
}

// Broker and frontend die together, and a service manager has kept the socket.
TEST_F(Upgrades, ASocketThatIsKeptGoesOn) {
  ASSERT_EQ(host().Airctl({"unmount", name()}).code, 0);
  host().StopBroker();
  std::optional<fault::ServiceStore> store(host().Path("notify"));
  host().StartBroker();
  ServeAgain();
  Crew crew(port(), path(), 2);
  for (int round = 0; round < 2; ++round) {
    crew.AwaitProgress();
    store->Receive();
    EXPECT_GE(store->kept().size(), 2u);  // socket and tables
    const pid_t frontend = Frontend();
    crew.BeginNewExport();
    host().KillBroker();
    kill(frontend, SIGKILL);
    store->StartBroker(host());
    crew.EndNewExport();
    crew.AwaitProgress();
    EXPECT_NE(Frontend(), frontend);
  }
  crew.End();
  store.reset();  // else somebody would have to listen
  crew.ExpectAllIn(MountElsewhere());
}

}  // namespace
}  // namespace airstore::nfs_test
