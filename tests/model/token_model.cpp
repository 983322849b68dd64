/// Model: the tree below cancellation tokens. A cancel reaches everything below before it returns,
/// whoever else cancels, joins or drops handles meanwhile; each waiter is posted or taken back,
/// once; each node is freed once, by the last who held it.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/token_node.cpp>
#include <magpie/runtime/wait_list.cpp>

#include <array>
#include <optional>

namespace magpie {

void task_root::let_go() noexcept {}

namespace tokens {

using detail::token_node;
using detail::wait_entry;
using model::bed;

struct world;
inline world* current = nullptr;

struct waiter_work : runnable {
  waiter_work() : runnable(nullptr) {}
};

/// root - middle - leaf, each with one handle.
struct world {
  task_root task{*static_cast<scheduler*>(nullptr)};
  std::array<std::optional<token_node>, 4> nodes;    // the last one for what is born meanwhile
  std::array<std::array<plain<int>, 2>, 4> touched;  // by a thread, before it drops a handle
  std::array<int, 4> freed{};
  std::optional<waiter_work> work;
  wait_entry waiter;
  plain<int> link{0};  ///< Written by whoever posts the waiter, and by its owner.
  atomic<int> posts{0};
  bed owner;
  plain<int> reason{0};  ///< Written by a canceller before it cancels.

  token_node& root() { return *nodes[0]; }
  token_node& middle() { return *nodes[1]; }
  token_node& leaf() { return *nodes[2]; }

  void before() {
    current = this;
    nodes[0].emplace(nullptr);
    nodes[1].emplace(&root());
    nodes[2].emplace(&middle());
    work.emplace();
    waiter.work = &*work;
    waiter.root = &task;
    for (auto& of_node : touched) of_node[0] = of_node[1] = 0;
  }

  void post() {
    link = 1;
    MAGPIE_ASSERT(posts.fetch_add(1, order::acq_rel) == 0);  // once
    owner.wake();
  }

  void drop(std::size_t node, unsigned thread) {
    touched[node][thread % 2] = 1;
    token_node::release(&*nodes[node]);
  }

  void drop_all() {
    for (std::size_t i = 0; i != nodes.size(); ++i)
      if (nodes[i] && freed[i] == 0 && !dropped[i]) token_node::release(&*nodes[i]);
    for (std::size_t i = 0; i != nodes.size(); ++i) MAGPIE_ASSERT(freed[i] == 1 || !born(i));
  }
  bool born(std::size_t i) const { return i != 3 || fourth; }

  void cancel_with_reason(token_node& at) {
    reason = 1;
    at.cancel();
  }

  std::array<bool, 4> dropped{};
  bool fourth = false;
};

}  // namespace tokens

void task_root::post(runnable&) noexcept { tokens::current->post(); }

void detail::free_node(token_node& node) noexcept {
  tokens::world& in = *tokens::current;
  for (std::size_t i = 0; i != in.nodes.size(); ++i) {
    if (in.nodes[i] && &*in.nodes[i] == &node) {
      for (plain<int>& each : in.touched[i]) static_cast<void>(each + 0);
      MAGPIE_ASSERT(++in.freed[i] == 1);
      in.nodes[i].reset();
      return;
    }
  }
  MAGPIE_ASSERT(false);
}

}  // namespace magpie

namespace {

using magpie::model::scenario;
using magpie::tokens::world;

/// A waiter at the leaf, and a cancel of the root.
struct wait_and_cancel : scenario<wait_and_cancel, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 1) {
      cancel_with_reason(root());
      return;
    }
    if (leaf().add(waiter)) {
      owner.sleep();
      link = 0;
    }
    MAGPIE_ASSERT(reason == 1 && leaf().cancelled());
  }
  void after() { drop_all(); }
};

/// A waiter that gives up: it is taken back or posted.
struct wait_and_remove : scenario<wait_and_remove, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 1) {
      middle().cancel();
      return;
    }
    if (!leaf().add(waiter)) return;
    if (!leaf().remove(waiter)) owner.sleep();
    link = 0;
    MAGPIE_ASSERT(!waiter.linked());
  }
  void after() { drop_all(); }
};

/// Two cancellers, and a waiter at the leaf that is posted once.
struct two_cancels : scenario<two_cancels, 3>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 2) {
      if (leaf().add(waiter)) owner.sleep();
      return;
    }
    index == 0 ? root().cancel() : middle().cancel();
    MAGPIE_ASSERT(leaf().cancelled());  // also when the other one has begun with it
  }
  void after() { drop_all(); }
};

/// Both cancel the root: who finds it done may return.
struct same_cancel : scenario<same_cancel, 2>, world {
  void before() { world::before(); }
  void thread(unsigned) {
    root().cancel();
    MAGPIE_ASSERT(middle().cancelled() && leaf().cancelled());
  }
  void after() { drop_all(); }
};

/// A canceller that returns at once, because all is done, sees what the other did before.
struct second_cancel : scenario<second_cancel, 2>, world {
  magpie::atomic<int> told{0};
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) {
      cancel_with_reason(leaf());
      told.store(1, magpie::order::relaxed);  // orders nothing
    } else if (told.load(magpie::order::relaxed) == 1) {
      leaf().cancel();
      MAGPIE_ASSERT(reason == 1);
    }
  }
  void after() { drop_all(); }
};

/// A child is born below the middle meanwhile.
struct birth_and_cancel : scenario<birth_and_cancel, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 1) {
      cancel_with_reason(root());
      return;
    }
    nodes[3].emplace(&middle());
    fourth = true;
    if (nodes[3]->cancelled()) MAGPIE_ASSERT(reason == 1);
  }
  void after() {
    MAGPIE_ASSERT(nodes[3]->cancelled());
    drop_all();
  }
};

/// The handles of middle and leaf are dropped meanwhile, and their memory goes.
struct drop_and_cancel : scenario<drop_and_cancel, 3>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) root().cancel();
    if (index == 1) drop(1, 1);
    if (index == 2) drop(2, 2);
  }
  void after() {
    dropped[1] = true;
    dropped[2] = true;
    MAGPIE_ASSERT(root().cancelled());
    drop_all();
  }
};

/// The handle in the middle is dropped, then the root is cancelled: the leaf hears of it.
struct drop_the_middle : scenario<drop_the_middle, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 0) drop(1, 0);
    if (index == 1) root().cancel();
  }
  void after() {
    dropped[1] = true;
    MAGPIE_ASSERT(leaf().cancelled());
    drop_all();
  }
};

/// Copies and handles of one node on two threads.
struct copies : scenario<copies, 2>, world {
  void before() {
    world::before();
    leaf().add_reference();
  }
  void thread(unsigned index) {
    leaf().add_reference();
    drop(2, index);
    drop(2, index);
  }
  void after() {
    dropped[2] = true;
    MAGPIE_ASSERT(freed[2] == 1);
    drop_all();
  }
};

/// Whoever sees the flag sees the reason.
struct look : scenario<look, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 1) {
      cancel_with_reason(root());
    } else if (leaf().cancelled()) {
      MAGPIE_ASSERT(reason == 1);
    }
  }
  void after() { drop_all(); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "token",
       .scenarios =
           {entry<look>("look", 2), entry<wait_and_cancel>("wait_and_cancel", 2),
            entry<wait_and_remove>("wait_and_remove", 2), entry<second_cancel>("second_cancel", 2),
            entry<birth_and_cancel>("birth_and_cancel", 2), entry<copies>("copies", 3),
            entry<drop_the_middle>("drop_the_middle", 2), entry<same_cancel>("same_cancel", 1),
            entry<drop_and_cancel>("drop_and_cancel", 1), entry<two_cancels>("two_cancels", 1)},
       .files = {"runtime/token_node.hpp", "runtime/token_node.cpp"}},
      argc, argv);
}
