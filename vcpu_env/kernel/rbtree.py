"""The red-black tree of waiting entities: lib/rbtree.c with the augmentation of fair.c.

Ordered by deadline, equal deadlines in order of insertion. Each node keeps the least vruntime and the least slice of
its subtree. As in the kernel, a rotation or replacement hands on only the least vruntime (RB_DECLARE_CALLBACKS names
that one field), so ``min_slice_ns`` of an inner node can be stale; slice protection sees that value, therefore the
tree must be the kernel's own, node for node. From 7.0 on both are handed on (``rb_copies_slices``).

Mirror cases are written once: `side` is 0 for left, 1 for right.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.types import cfs_rq, sched_entity, sched_tunables


@kjit
def rb_child(w, node, side):
    """The child of `node` on one side."""
    se = sched_entity(w, node)
    return se.rb_right if side else se.rb_left


@kjit
def rb_set_child(w, node, side, child):
    """Hang `child` (may be NIL) below `node`."""
    se = sched_entity(w, node)
    if side:
        se.rb_right = child
    else:
        se.rb_left = child
    if child != NIL:
        sched_entity(w, child).rb_parent = node


@kjit
def rb_is_red(w, node):
    """Whether `node` is a red node; NIL is black."""
    return node != NIL and sched_entity(w, node).rb_red != 0


@kjit
def rb_change_child(w, q, old, new, parent):
    """rbtree_augmented.h: __rb_change_child(). Let `new` (may be NIL) take the place of `old` below `parent`."""
    if parent == NIL:
        cfs_rq(w, q).rb_root = new
        if new != NIL:
            sched_entity(w, new).rb_parent = NIL
    else:
        rb_set_child(w, parent, sched_entity(w, parent).rb_right == old, new)


@kjit
def min_vruntime_update(w, node):
    """fair.c: min_vruntime_update(). Recompute both aggregates of `node`; returns whether neither changed."""
    se = sched_entity(w, node)
    min_vruntime, min_slice = se.vruntime, se.slice_ns
    if se.rb_right != NIL:
        right = sched_entity(w, se.rb_right)
        if min_vruntime - right.min_vruntime > 0:
            min_vruntime = right.min_vruntime
        min_slice = min(min_slice, right.min_slice_ns)
    if se.rb_left != NIL:
        left = sched_entity(w, se.rb_left)
        if min_vruntime - left.min_vruntime > 0:
            min_vruntime = left.min_vruntime
        min_slice = min(min_slice, left.min_slice_ns)
    unchanged = se.min_vruntime == min_vruntime and se.min_slice_ns == min_slice
    se.min_vruntime = min_vruntime
    se.min_slice_ns = min_slice
    return unchanged


@kjit
def rb_propagate(w, node, stop):
    """The augmentation's propagate(): recompute upwards until nothing changes or `stop` is reached."""
    while node != stop:
        if min_vruntime_update(w, node):
            break
        node = sched_entity(w, node).rb_parent


@kjit
def copy_slice(w, old, new):
    """The augmentation's copy(), of the least slice: `new` has the subtree that was below `old`."""
    if sched_tunables(w).rb_copies_slices:
        sched_entity(w, new).min_slice_ns = sched_entity(w, old).min_slice_ns


@kjit
def rb_rotate(w, q, top, side):
    """Rotate `top` down towards `side`; its other child comes up. The augmentation's rotate() comes with it."""
    riser = rb_child(w, top, 1 - side)
    rb_change_child(w, q, top, riser, sched_entity(w, top).rb_parent)
    rb_set_child(w, top, 1 - side, rb_child(w, riser, side))
    rb_set_child(w, riser, side, top)
    sched_entity(w, riser).min_vruntime = sched_entity(w, top).min_vruntime
    copy_slice(w, top, riser)
    min_vruntime_update(w, top)


@kjit
def rb_insert_color(w, q, node):
    """rbtree.c: __rb_insert(). Restore the colour rules after `node` was linked in as a red leaf."""
    parent = sched_entity(w, node).rb_parent
    while True:
        if parent == NIL:
            sched_entity(w, node).rb_red = 0
            return
        if sched_entity(w, parent).rb_red == 0:
            return
        grandparent = sched_entity(w, parent).rb_parent
        side = 1 if sched_entity(w, grandparent).rb_right == parent else 0
        uncle = rb_child(w, grandparent, 1 - side)
        if rb_is_red(w, uncle):
            sched_entity(w, uncle).rb_red = 0
            sched_entity(w, parent).rb_red = 0
            sched_entity(w, grandparent).rb_red = 1
            node = grandparent
            parent = sched_entity(w, node).rb_parent
            continue
        if rb_child(w, parent, 1 - side) == node:
            rb_rotate(w, q, parent, side)
            parent = node
        rb_rotate(w, q, grandparent, 1 - side)
        sched_entity(w, parent).rb_red = 0
        sched_entity(w, grandparent).rb_red = 1
        return


@kjit
def rb_add(w, q, node):
    """rbtree_augmented.h: rb_add_augmented_cached(). Insert an entity by its deadline, behind its equals."""
    se, queue = sched_entity(w, node), cfs_rq(w, q)
    parent, link, leftmost = NIL, queue.rb_root, True
    deadline = se.deadline
    side = 0
    while link != NIL:
        parent = link
        at = sched_entity(w, parent)
        if deadline - at.deadline < 0:
            link, side = at.rb_left, 0
        else:
            link, side, leftmost = at.rb_right, 1, False
    se.rb_left = NIL
    se.rb_right = NIL
    se.rb_parent = parent
    se.rb_red = 1
    if leftmost:
        queue.rb_leftmost = node
    if parent == NIL:
        queue.rb_root = node
        se.rb_red = 0
        return
    rb_set_child(w, parent, side, node)
    rb_propagate(w, parent, NIL)
    rb_insert_color(w, q, node)


@kjit
def rb_next(w, node):
    """rbtree.c: rb_next(). The following entity in tree order, or NIL."""
    at = sched_entity(w, node).rb_right
    if at != NIL:
        while sched_entity(w, at).rb_left != NIL:
            at = sched_entity(w, at).rb_left
        return at
    parent = sched_entity(w, node).rb_parent
    while parent != NIL and sched_entity(w, parent).rb_right == node:
        node = parent
        parent = sched_entity(w, node).rb_parent
    return parent


@kjit
def rb_erase_color(w, q, parent):
    """rbtree.c: ____rb_erase_color(). Restore the colour rules where a black node is missing below `parent`."""
    node = NIL
    while True:
        side = 0 if sched_entity(w, parent).rb_right != node else 1
        sibling = rb_child(w, parent, 1 - side)
        if sched_entity(w, sibling).rb_red:
            rb_rotate(w, q, parent, side)
            sched_entity(w, sibling).rb_red = 0
            sched_entity(w, parent).rb_red = 1
            sibling = rb_child(w, parent, 1 - side)
        far = rb_child(w, sibling, 1 - side)
        if not rb_is_red(w, far):
            near = rb_child(w, sibling, side)
            if not rb_is_red(w, near):
                sched_entity(w, sibling).rb_red = 1
                if sched_entity(w, parent).rb_red:
                    sched_entity(w, parent).rb_red = 0
                    return
                node = parent
                parent = sched_entity(w, node).rb_parent
                if parent == NIL:
                    return
                continue
            rb_rotate(w, q, sibling, 1 - side)
            far = sibling
            sibling = near
        rb_rotate(w, q, parent, side)
        sched_entity(w, far).rb_red = 0
        sched_entity(w, sibling).rb_red = sched_entity(w, parent).rb_red
        sched_entity(w, parent).rb_red = 0
        return


@kjit
def rb_replace_by_successor(w, q, node):
    """rbtree_augmented.h: __rb_erase_augmented(), the cases of two children. Returns where a black node is missing."""
    se = sched_entity(w, node)
    child = successor = se.rb_right
    while sched_entity(w, successor).rb_left != NIL:
        successor = sched_entity(w, successor).rb_left
    new = sched_entity(w, successor)
    orphan = new.rb_right
    if successor == child:
        parent = successor
        new.min_vruntime = se.min_vruntime
        copy_slice(w, node, successor)
    else:
        parent = new.rb_parent
        rb_set_child(w, parent, 0, orphan)
        rb_set_child(w, successor, 1, child)
        new.min_vruntime = se.min_vruntime
        copy_slice(w, node, successor)
        rb_propagate(w, parent, successor)
    rb_set_child(w, successor, 0, se.rb_left)
    rb_change_child(w, q, node, successor, se.rb_parent)
    new.rb_parent = se.rb_parent
    rebalance = NIL
    if orphan != NIL:
        sched_entity(w, orphan).rb_red = 0
    elif new.rb_red == 0:
        rebalance = parent
    new.rb_red = se.rb_red
    rb_propagate(w, successor, NIL)
    return rebalance


@kjit
def rb_erase(w, q, node):
    """rbtree_augmented.h: rb_erase_augmented_cached(). Take an entity out of the tree."""
    se, queue = sched_entity(w, node), cfs_rq(w, q)
    if queue.rb_leftmost == node:
        queue.rb_leftmost = rb_next(w, node)
    rebalance = NIL
    if se.rb_left != NIL and se.rb_right != NIL:
        rebalance = rb_replace_by_successor(w, q, node)
    else:
        only = se.rb_left if se.rb_left != NIL else se.rb_right
        rb_change_child(w, q, node, only, se.rb_parent)
        if only != NIL:
            sched_entity(w, only).rb_red = se.rb_red
        elif se.rb_red == 0:
            rebalance = se.rb_parent
        rb_propagate(w, se.rb_parent, NIL)
    if rebalance != NIL:
        rb_erase_color(w, q, rebalance)
